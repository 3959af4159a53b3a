"""A small COCO writer, for the tests of mended copies."""

from __future__ import annotations

import json

from segkit.data.writers import DatasetWriter


class StandInWriter(DatasetWriter):
    def __init__(self, output, classes, category_ids):
        super().__init__(output, classes, category_ids)
        self.contents = {}

    def write(self, image):
        categories = [{"id": k, "name": name} for k, name in zip(self.category_ids, self.classes, strict=True)]
        content = self.contents.setdefault(image.split, {"images": [], "annotations": [], "categories": categories})
        name, (height, width), targets = image.name, image.size, image.targets
        folder = self.output / "images" / image.split
        image.copy_to(folder / name)
        content["images"].append({"id": image.image_id, "file_name": name, "height": height, "width": width})
        rles = [None] * len(targets) if targets.masks is None else targets.masks.to_rle()
        for i, (x0, y0, x1, y1) in enumerate(targets.boxes.tolist()):
            one = {
                "id": len(content["annotations"]) + 1,
                "image_id": image.image_id,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            one |= {"category_id": self.category_ids[targets.labels[i]], "iscrowd": int(targets.crowd[i])}
            if targets.has_mask[i]:
                one |= {"segmentation": rles[i], "area": int(targets.masks.areas()[i])}
            content["annotations"].append(one)

    def close(self):
        (self.output / "annotations").mkdir()
        for split, content in self.contents.items():
            (self.output / f"annotations/instances_{split}.json").write_text(json.dumps(content))
