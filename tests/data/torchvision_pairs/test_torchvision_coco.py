"""A torchvision-style data set equals the same data as a COCO JSON, read by segkit or by torchvision's CocoDetection."""

from __future__ import annotations

import json

import numpy as np
import torch
from pairs import BOXES, SIZE, Pairs, pair
from PIL import Image
from pycocotools import mask as mask_util
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

from segkit.data import build_dataset, from_torchvision


def write_coco(folder, pairs, classes):
    """The same data as a COCO JSON with PNG files."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i, (image, target) in enumerate(pairs):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"images/{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]})
        crowds = target.get("iscrowd", torch.zeros(len(target["labels"]), dtype=torch.int64)).tolist()
        for box, label, mask, crowd in zip(
            target["boxes"].tolist(), target["labels"].tolist(), target["masks"], crowds, strict=True
        ):
            rle = mask_util.encode(np.asfortranarray(mask.numpy()))
            x0, y0, x1, y1 = box
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": i, "category_id": label, "iscrowd": crowd,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "area": float(mask.sum()),
                    "segmentation": {"size": list(SIZE), "counts": rle["counts"].decode()},
                }
            )  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))
    return {"format": "coco", "json": str(folder / "coco.json"), "images": str(folder / "images")}


def some_pairs():
    crowd = torch.tensor([0, 1])
    return [
        pair(*BOXES, labels=[1, 2]),
        pair((0, 0, 56, 40), (5, 5, 6, 6), labels=[2, 1], seed=1),
        pair(seed=2),
        pair(*BOXES, labels=[2, 2], iscrowd=crowd, seed=3),
    ]


def test_samples_and_ground_truth_equal_those_of_the_same_data_as_coco(tmp_path):
    pairs = some_pairs()
    coco = build_dataset(write_coco(tmp_path, pairs, ["a", "b"]))
    data = from_torchvision(Pairs(pairs), ["a", "b"])
    assert data.classes == coco.classes and data.category_ids == coco.category_ids and data.image_ids == coco.image_ids
    for i in range(len(pairs)):
        ours, theirs = data.load(i), coco.load(i)
        assert torch.equal(ours.image, theirs.image) and ours.size == theirs.size
        for name in ("boxes", "labels", "crowd", "has_mask"):
            assert torch.equal(getattr(ours.targets, name), getattr(theirs.targets, name)), (i, name)
        assert torch.equal(ours.targets.masks.bits, theirs.targets.masks.bits)
        assert data.ground_truth(i, ours) == coco.ground_truth(i, theirs)
        assert data.label_counts(i) == coco.label_counts(i)


def test_torchvisions_coco_detection(tmp_path):
    """With torchvision's wrapper, whose labels are the file's category ids and whose empty images have no boxes."""
    spec = write_coco(tmp_path, some_pairs(), ["a", "b"])
    keys = ("image_id", "boxes", "labels", "masks", "iscrowd", "area")
    theirs = wrap_dataset_for_transforms_v2(CocoDetection(spec["images"], spec["json"]), target_keys=keys)
    data, coco = from_torchvision(theirs, ["a", "b"]), build_dataset(spec)
    assert data.image_ids == coco.image_ids
    for i in range(len(coco)):
        ours, expected = data.load(i), coco.load(i)
        assert torch.equal(ours.image, expected.image) and torch.equal(ours.targets.boxes, expected.targets.boxes)
        assert torch.equal(ours.targets.masks.bits, expected.targets.masks.bits)
        assert data.ground_truth(i, ours) == coco.ground_truth(i, expected)
