"""Objects of COCO files with a box and no mask."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import Coco, array_cache
from segkit.data.formats.coco import table as coco_table
from segkit.data.formats.objects import ground_truth_from_targets
from segkit.structures import Sample, Targets
from segkit.utils.errors import SegkitError

SQUARE = [2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]
NOTHING = object()


@pytest.fixture
def write(tmp_path):
    """Saves annotations of two images of 20 x 30 pixels; returns the arguments of Coco."""
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / name)

    def save(*annotations):
        images = [{"id": i, "file_name": n, "height": 20, "width": 30} for i, n in ((5, "a.png"), (3, "b.png"))]
        items = [{"id": k, "image_id": 5, "category_id": 1, **a} for k, a in enumerate(annotations, 1)]
        items = [{key: value for key, value in item.items() if value is not NOTHING} for item in items]
        content = {"images": images, "categories": [{"id": 1, "name": "cell"}], "annotations": items}
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        return {"json": str(tmp_path / "boxes.json"), "images": str(tmp_path)}

    return save


@pytest.mark.parametrize(
    "segmentation",
    [NOTHING, None, [], {}, [[]], [[1, 1, 2, 2]], [[1, 1, 2, 2], []]],
    ids=["absent", "null", "list", "mapping", "empty polygon", "line", "line and empty polygon"],
)
@pytest.mark.parametrize("crowd", [0, 1])
def test_a_box_is_read_without_a_segmentation(write, segmentation, crowd):
    dataset = Coco(**write({"bbox": [4.5, 2, 10.25, 6], "segmentation": segmentation, "iscrowd": crowd}))
    sample = dataset.load(0)
    targets = sample.targets
    assert targets.boxes.tolist() == [[4.5, 2, 14.75, 8]] and targets.masks is None and sample.dropped == 0
    assert targets.has_mask.tolist() == [False] and targets.crowd.tolist() == [bool(crowd)]
    (truth,) = dataset.ground_truth(0, sample)
    assert truth == {"bbox": [4.5, 2, 10.25, 6], "segmentation": None, "area": 61.5, "iscrowd": crowd, "label": 0}
    assert dataset.label_counts(0) == {0: 1}
    assert dataset.object_counts().tolist() == dataset.unmasked_counts().tolist() == [1 - crowd, 0]
    assert "1 objects have a box and no mask" in dataset.summary()


def test_objects_with_and_without_masks_in_one_image(write):
    rle = {"size": [20, 30], "counts": [25, 5, 570]}
    arguments = write(
        {"bbox": [1, 1, 5, 5]},
        {"bbox": [2, 3, 10, 6], "segmentation": [SQUARE], "area": 50},
        {"bbox": [20, 10, 10, 10], "area": 7.5, "segmentation": []},
        {"bbox": [1, 5, 1, 5], "segmentation": rle},
        {"bbox": [0, 0, 30, 20], "iscrowd": 1},
        {"bbox": [0, 0, 4, 4], "image_id": 3},
    )
    dataset = Coco(**arguments)
    sample = dataset.load(0)
    targets = sample.targets
    assert targets.has_mask.tolist() == [False, True, False, True, False]
    assert targets.masks.areas().tolist() == [0, 60, 0, 5, 0]
    assert targets.boxes.tolist() == [
        [1, 1, 6, 6], [2, 3, 12, 9], [20, 10, 30, 20], [1, 5, 2, 10], [0, 0, 30, 20],
    ]  # fmt: skip
    truth = dataset.ground_truth(0, sample)
    assert [t["area"] for t in truth] == [25, 50, 7.5, 5, 600]  # the file's, else the mask's, else the box's
    assert [t["segmentation"] is None for t in truth] == [True, False, True, False, True]
    assert dataset.unmasked_counts().tolist() == [2, 1] and dataset.object_counts().tolist() == [4, 1]
    assert dataset.subset([1]).unmasked_counts().tolist() == [1]
    assert "4 objects have a box and no mask" in dataset.summary()
    assert pickle.loads(pickle.dumps(dataset)).load(0).targets.has_mask.tolist() == targets.has_mask.tolist()


def test_from_the_cache_boxes_are_the_same(write, tmp_path, monkeypatch):
    arguments = write({"bbox": [1, 1, 5, 5]}, {"segmentation": [SQUARE]}, {"bbox": [40, 1, 5, 5]})
    monkeypatch.setattr(array_cache, "MIN_CACHED_BYTES", 1)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    first = Coco(**arguments)
    monkeypatch.setattr(coco_table, "write_table", None)
    again = Coco(**arguments)
    assert again.summary() == first.summary() and "1 of these boxes lie outside of their image" in again.summary()
    assert again.load(0).targets.boxes.tolist() == first.load(0).targets.boxes.tolist()
    assert again.ground_truth(0, again.load(0)) == first.ground_truth(0, first.load(0))


@pytest.mark.parametrize(
    ("bbox", "cut"),
    [
        ([-4, 2, 10, 6], [0, 2, 6, 8]),
        ([25, 15, 10, 10], [25, 15, 30, 20]),
        ([-5, -5, 100, 100], [0, 0, 30, 20]),
        ([29.5, 19.5, 0.5, 0.5], [29.5, 19.5, 30, 20]),
        ([30, 0, 5, 5], None),
        ([0, -5, 5, 5], None),
        ([-100, -100, 1, 1], None),
    ],
)
def test_boxes_are_cut_at_the_border_for_training_only(write, bbox, cut):
    dataset = Coco(**write({"bbox": bbox}, {"bbox": [1, 1, 2, 2]}))
    sample = dataset.load(0)
    assert sample.targets.boxes.tolist() == [*([cut] if cut else []), [1, 1, 3, 3]]
    assert sample.dropped == (cut is None)
    assert ("1 of these boxes lie outside" in dataset.summary()) == (cut is None)
    # Evaluation has the file's box, as pycocotools has.
    assert [t["bbox"] for t in dataset.ground_truth(0, sample)] == [bbox, [1, 1, 2, 2]]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({}, "1 objects with neither a segmentation nor a box"),
        ({"bbox": [], "segmentation": []}, "1 objects with neither a segmentation nor a box"),
        ({"bbox": None, "segmentation": [[1, 1, 2, 2]]}, "1 objects with neither a segmentation nor a box"),
        ({"bbox": [3, 3, 0, 5]}, "1 objects with a box of no width or height"),
        ({"bbox": [3, 3, 5, -1], "segmentation": None}, "1 objects with a box of no width or height"),
    ],
)
def test_objects_without_a_box_or_a_mask_are_skipped_and_counted(write, annotation, reason):
    dataset = Coco(**write(annotation, {"bbox": [1, 1, 2, 2]}))
    assert len(dataset.load(0).targets) == len(dataset.ground_truth(0, dataset.load(0))) == 1
    assert f"skipped: {reason}" in dataset.summary()


@pytest.mark.parametrize("bbox", [[0, 0, 0, 0], [3, 3, 0, 5], [3, 3, -2, -2]])
def test_a_mask_with_a_box_of_no_size_has_its_own_box(write, bbox):
    triangle = {"segmentation": [[1, 1, 9, 1, 9, 7]], "area": 24}
    dataset = Coco(**write({**triangle, "bbox": bbox}, triangle))
    sample = dataset.load(0)
    assert sample.targets.boxes[0].equal(sample.targets.boxes[1]) and sample.dropped == 0
    truth = dataset.ground_truth(0, sample)
    assert truth[0] == truth[1]
    assert "1 boxes of no width or height; the objects get the boxes of their masks" in dataset.summary()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"annotations": [{"image_id": 5, "segments_info": []}]},
            "has no 'category_id'.*a file of panoptic segmentation",
        ),
        ({"annotations": [{"image_id": 5, "id": 3, "caption": "a cat"}], "categories": None}, "a file of captions"),
        ({"images": [{"id": 1, "coco_url": "http://a.org/val2017/7.jpg"}]}, "'coco_url' ends with 'val2017/7.jpg'"),
        (
            {"images": [{"id": 1, "file_name": "/a/7.jpg", "height": 1, "width": 1}]},
            "expected a path in it, as '7.jpg'",
        ),
    ],
)
def test_a_file_of_another_kind_is_named(write, content, message):
    arguments = write()
    file = Path(arguments["json"])
    file.write_text(json.dumps({**json.loads(file.read_text()), **content}))
    with pytest.raises(SegkitError, match=message):
        Coco(**arguments)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"annotations\[0\]: 'bbox' is \[1, 2, 3\]"),
        ({"bbox": [1, 2, float("nan"), 3]}, r"annotations\[0\]: 'bbox' is \[1, 2, nan"),
        ({"bbox": [1, 2, 10**400, 3]}, r"annotations\[0\]: 'bbox' is \[1, 2, 1000"),
        ({"bbox": "1 2 3 4"}, r"annotations\[0\]: 'bbox' is .*1 2 3 4"),
        ({"bbox": [1, 2, "3", 4]}, r"annotations\[0\]: 'bbox'"),
        ({"bbox": [1, 2, 3, 4], "segmentation": "none"}, r"annotations\[0\]: 'segmentation' is .*none"),
        ({"bbox": [1, 2, 3, 4], "area": -1}, r"annotations\[0\]: 'area' is -1"),
        ({"bbox": [1, 2, 3, 4], "image_id": 9}, r"annotations\[0\]: there is no image with the id 9"),
    ],
)
def test_boxes_are_checked(write, annotation, message):
    with pytest.raises(SegkitError, match=message):
        Coco(**write(annotation))


def test_ground_truth_of_targets_without_masks():
    boxes = torch.tensor([[1.5, 2, 4, 10], [0, 0, 7, 7], [3, 3, 9, 4]])
    labels, crowd = torch.tensor([2, 0, 1]), torch.tensor([False, True, False])
    sample = Sample(torch.zeros(3, 12, 12, dtype=torch.uint8), Targets(boxes, labels, None, crowd), 1, "a", (12, 12))
    assert [(t["bbox"], t["area"], t["segmentation"], t["iscrowd"], t["label"]) for t in ground_truth_from_targets(sample)] == [
        ([1.5, 2, 2.5, 8], 20, None, 0, 2), ([0, 0, 7, 7], 49, None, 1, 0), ([3, 3, 6, 1], 6, None, 0, 1),
    ]  # fmt: skip
