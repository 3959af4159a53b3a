"""The COCO format: one JSON, one folder of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from segkit.data.formats.base import Dataset, check_classes, ground_truth_from_targets
from segkit.data.formats.coco_annotations import read_annotations, read_categories, read_coco_json, read_images
from segkit.data.formats.id_map import check_size
from segkit.data.packed import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import read_image
from segkit.utils.paths import local_path


@DATASET_FORMAT_REGISTRY.register(name="coco")
class Coco(Dataset):
    """Images and objects of a COCO JSON: polygons, compressed and uncompressed RLE, crowd regions.

    Training boxes are the masks' own, so that they move with the masks; evaluation gets the file's boxes and areas, as
    COCO's published numbers do.

    Args:
        json: the annotation file.
        images: the folder that its file names are relative to.
        classes: names in the order of the labels; by default the file's categories by ascending id.
    """

    def __init__(self, *, json: str, images: str, classes: Sequence[str] | None = None) -> None:
        self.file = local_path(json, "COCO annotation file")
        self.folder = local_path(images, "folder of images")
        if not self.folder.is_dir():
            raise SegkitError(f"{self.folder}: is not a folder", value=images)
        content = read_coco_json(self.file)
        names = None if classes is None else list(classes)
        self.classes, self.category_ids, self._lacking = read_categories(self.file, content["categories"], names)
        check_classes(self.classes, self.category_ids)
        entries = read_images(self.file, content["images"], self.folder)
        if not entries:
            raise SegkitError(f"{self.file}: lists no images", value=json)
        label_of = {k: label for label, k in enumerate(self.category_ids) if self.classes[label] not in self._lacking}
        by_image, self.skipped = read_annotations(self.file, content["annotations"], entries, label_of)
        self.image_ids = [entry["id"] for entry in entries]
        self._without = sum(not objects for objects in by_image)
        self._count = sum(len(objects) for objects in by_image)
        self._crowds = sum(a["iscrowd"] for objects in by_image for a in objects)
        self._entries = PackedList(zip(entries, by_image, strict=True))

    def load(self, index: int) -> Sample:
        entry, objects = self._entries[index]
        size = (entry["height"], entry["width"])
        image = read_image(self.folder / entry["file_name"])
        check_size(self.folder / entry["file_name"], (image.shape[1], image.shape[2]), size, str(self.file))
        masks = decode_masks([a["segmentation"] for a in objects], size)
        labels = torch.tensor([a["label"] for a in objects], dtype=torch.int64)
        crowd = torch.tensor([a["iscrowd"] for a in objects], dtype=torch.bool)
        targets = Targets(masks.boxes(), labels, masks, crowd)
        # A polygon thinner than a pixel gives an empty mask: nothing to learn from.
        filled = masks.areas() > 0
        dropped = int((~filled).sum())
        if dropped:
            targets = targets[filled]
        return Sample(image, targets, entry["id"], entry["file_name"], size, None, dropped=dropped)

    def label_counts(self, index: int) -> dict[int, int]:
        counts: dict[int, int] = {}
        for annotation in self._entries[index][1]:
            counts[annotation["label"]] = counts.get(annotation["label"], 0) + 1
        return counts

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        entry, objects = self._entries[index]
        if sample.dropped:  # evaluation keeps the objects whose masks came out empty, as pycocotools does
            size = (entry["height"], entry["width"])
            masks = decode_masks([a["segmentation"] for a in objects], size)
            labels = torch.tensor([a["label"] for a in objects], dtype=torch.int64)
            crowd = torch.tensor([a["iscrowd"] for a in objects], dtype=torch.bool)
            whole = Targets(masks.boxes(), labels, masks, crowd)
            sample = Sample(sample.image, whole, sample.image_id, sample.file_name, sample.size, None)
        truth = ground_truth_from_targets(sample)
        for from_mask, from_file in zip(truth, objects, strict=True):
            for key in ("bbox", "area"):
                if from_file[key] is not None:
                    from_mask[key] = from_file[key]
        return truth

    def size(self, index: int) -> tuple[int, int]:
        entry = self._entries[index][0]
        return entry["height"], entry["width"]

    def describe(self) -> str:
        return f"COCO data set {self.file}"

    def notes(self) -> list[str]:
        notes = [f"{self._count:,} objects, {self._crowds:,} of them crowd regions"]
        if self._without:
            notes.append(f"{self._without} images have no objects")
        if self._lacking:
            notes.append(f"the file does not know the classes {', '.join(sorted(self._lacking))}")
        notes += [f"left out: {count:,} {reason}" for reason, count in sorted(self.skipped.items())]
        return notes


def decode_masks(segmentations: list, size: tuple[int, int]) -> InstanceMasks:
    """Polygons (lists) and RLEs (dicts), mixed, to masks in their order."""
    rles = [i for i, s in enumerate(segmentations) if isinstance(s, dict)]
    polygons = [i for i, s in enumerate(segmentations) if not isinstance(s, dict)]
    together = InstanceMasks.cat(
        [
            InstanceMasks.from_rle([segmentations[i] for i in rles], size),
            InstanceMasks.from_polygons([segmentations[i] for i in polygons], size),
        ]
    )
    return together[torch.tensor(rles + polygons).argsort()]
