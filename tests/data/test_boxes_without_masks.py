"""Objects that have a box and no mask: read from COCO files, and moved with the others."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import Coco, array_cache
from segkit.data.formats import coco_table
from segkit.data.formats.base import ground_truth_from_targets
from segkit.data.transforms import Compose, CopyPaste, MixingTransform, Mosaic, Photometric, geometry
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.affine import affine_matrix
from segkit.utils.errors import SegkitError

SQUARE = [2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]
NOTHING = object()


@pytest.fixture
def write(tmp_path):
    """Saves annotations of two images of 20 x 30 pixels; gives the arguments of Coco."""
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
    monkeypatch.setattr(array_cache, "SMALLEST_CACHED", 1)
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
def test_without_a_box_or_a_mask_an_object_is_left_out_and_counted(write, annotation, reason):
    dataset = Coco(**write(annotation, {"bbox": [1, 1, 2, 2]}))
    assert len(dataset.load(0).targets) == len(dataset.ground_truth(0, dataset.load(0))) == 1
    assert f"left out: {reason}" in dataset.summary()


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"annotations\[0\]: 'bbox' is \[1, 2, 3\]"),
        ({"bbox": [1, 2, float("nan"), 3]}, r"annotations\[0\]: 'bbox' is \[1, 2, nan"),
        ({"bbox": [1, 2, 10**400, 3]}, r"annotations\[0\]: 'bbox' is \[1, 2, 1000"),
        ({"bbox": "1 2 3 4"}, r"annotations\[0\]: 'bbox' is the text '1 2 3 4'"),
        ({"bbox": [1, 2, "3", 4]}, r"annotations\[0\]: 'bbox'"),
        ({"bbox": [1, 2, 3, 4], "segmentation": "none"}, r"annotations\[0\]: 'segmentation' is the text 'none'"),
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


# Transforms


def filled(boxes, size, unmasked=()):
    """Targets of whole-numbered boxes whose masks fill them, object i of label i; without those of ``unmasked``."""
    dense = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        dense[i, y0:y1, x0:x1] = i not in unmasked
    has_mask = torch.tensor([i not in unmasked for i in range(len(boxes))])
    masks = InstanceMasks.from_dense(dense)
    return Targets(torch.tensor(boxes), torch.arange(len(boxes)), masks, has_mask=has_mask)


BOXES = [
    [0, 0, 30, 20],
    [5, 4, 6, 5],
    [10, 2, 25, 18],
    [28, 18, 30, 20],
    [0, 9, 12, 12],
    [13, 0, 14, 20],
    [3, 3, 20, 7],
]
SIZE = (20, 30)
IMAGE = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CASES = [(name, dict(arguments)) for name, cls in TRANSFORM_REGISTRY for arguments in getattr(cls, "examples", ({},))]
MOVING = [case for case in CASES if not issubclass(TRANSFORM_REGISTRY.get(case[0]), (Photometric, CopyPaste))]


def applied(name, arguments, targets, seed):
    sample = Sample(IMAGE, targets, 1, "a.png", SIZE)
    transform = Compose([TRANSFORM_REGISTRY.build({"name": name, **arguments})])
    return transform(sample, torch.Generator().manual_seed(seed), lambda _: sample)


def rows(targets):
    """Label, box, crowd and mask of each object."""
    masks = [None] * len(targets) if targets.masks is None else targets.masks.to_dense()
    parts = zip(targets.labels.tolist(), targets.boxes.tolist(), targets.has_mask.tolist(), masks, strict=True)
    return [(label, box, mask.nonzero().tolist() if known else None) for label, box, known, mask in parts]


@pytest.mark.parametrize(("name", "arguments"), MOVING, ids=[f"{name}-{i}" for i, (name, _) in enumerate(MOVING)])
def test_each_object_moves_as_if_it_were_alone(name, arguments):
    """Those with a mask as among masks, those without as among boxes, in one image and in order."""
    unmasked = {1, 2, 4, 5}
    for seed in range(4):
        mixed, masked, bare = (
            applied(name, arguments, targets, seed)
            for targets in (
                filled(BOXES, SIZE, unmasked),
                filled(BOXES, SIZE),
                Targets(torch.tensor(BOXES), torch.arange(7)),
            )
        )
        of_masks = [row for row in rows(masked.targets) if row[0] not in unmasked]
        of_boxes = [row for row in rows(bare.targets) if row[0] in unmasked]
        found = rows(mixed.targets)
        assert [row for row in found if row[0] not in unmasked] == of_masks
        assert [row for row in found if row[0] in unmasked] == of_boxes
        assert mixed.targets.masks is None or mixed.targets.masks.canvas == tuple(mixed.image.shape[1:])
        assert mixed.dropped + len(found) == 7 * (4 if name == "Mosaic" and mixed.image is not IMAGE else 1)
        height, width = mixed.image.shape[1:]
        boxes = bare.targets.boxes
        assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height] * 2)).all()


LOSSLESS = {"RandomHorizontalFlip", "RandomVerticalFlip", "RandomQuarterTurn", "RandomCrop", "Mosaic"}


@pytest.mark.parametrize(("name", "arguments"), [case for case in MOVING if case[0] in LOSSLESS])
def test_a_box_moves_as_a_mask_that_fills_it(name, arguments):
    for seed in range(6):
        masked, bare = (
            applied(name, arguments, targets, seed)
            for targets in (filled(BOXES, SIZE), Targets(torch.tensor(BOXES), torch.arange(7)))
        )
        assert [row[:2] for row in rows(bare.targets)] == [row[:2] for row in rows(masked.targets)]
        assert bare.dropped == masked.dropped


@pytest.mark.parametrize("visibility", [0.0, 0.3, 0.5, 1.0])
def test_a_crop_cuts_boxes_and_drops_what_is_hardly_visible(visibility):
    rng = np.random.default_rng(int(10 * visibility))
    low = rng.uniform(-3, 25, (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.5, 12, (40, 2))], 1).astype(np.float32)
    window = np.array([7, 3, 21, 17])
    expected = []
    for label, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        a, b, c, d = max(x0, 7), max(y0, 3), min(x1, 21), min(y1, 17)
        share = (c - a) * (d - b) / ((x1 - x0) * (y1 - y0)) if c > a and d > b else 0
        if share > 0 and share >= visibility - 1e-6:
            expected.append((label, [a - 7, b - 3, c - 7, d - 3]))
    sample = Sample(IMAGE, Targets(torch.from_numpy(boxes), torch.arange(40)), 1, "a", SIZE)
    cropped = geometry.crop(sample, tuple(window.tolist()), visibility)
    assert cropped.targets.labels.tolist() == [label for label, _ in expected] and len(expected) > 1
    np.testing.assert_allclose(cropped.targets.boxes.numpy(), [box for _, box in expected], atol=1e-4)
    assert cropped.dropped == 40 - len(expected)


@pytest.mark.parametrize("angle", [0, 17, 90, -45, 200])
def test_a_turned_box_is_the_hull_of_its_corners_cut_at_the_border(angle):
    boxes = torch.tensor([[5.5, 4, 9, 6], [0, 0, 30, 20], [25, 15, 30, 20], [14, 9, 16, 11]])
    matrix = affine_matrix(SIZE, SIZE, angle=angle, scale=1.3, shift=(4, -3))
    moved = geometry.affine(Sample(IMAGE, Targets(boxes, torch.arange(4)), 1, "a", SIZE), matrix, SIZE)
    expected = {}
    for label, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        corners = np.array([[x0, y0, 1], [x1, y0, 1], [x0, y1, 1], [x1, y1, 1]]) @ matrix.numpy().T
        (a, b), (c, d) = corners.min(0).clip(0, [30, 20]), corners.max(0).clip(0, [30, 20])
        if c > a and d > b:
            expected[label] = [a, b, c, d]
    assert moved.targets.labels.tolist() == list(expected) and moved.dropped == 4 - len(expected)
    np.testing.assert_allclose(moved.targets.boxes.numpy(), list(expected.values()), atol=1e-4)


def paste_all(below, above, **arguments):
    """Every object of ``above`` that can be is pasted over ``below``, both on images of one size."""
    over = Sample(255 - IMAGE, above, 2, "b.png", SIZE)
    for seed in range(50):  # the number of pasted objects is drawn
        mixed = CopyPaste(p=1.0, **arguments).mix(
            Sample(IMAGE, below, 1, "a.png", SIZE), lambda: over, torch.Generator().manual_seed(seed)
        )
        pasted = int((mixed.targets.labels >= 100).sum())
        if pasted == int(above.has_mask.sum()):
            return mixed
    raise AssertionError


def relabelled(targets):
    return Targets(targets.boxes, targets.labels + 100, targets.masks, targets.crowd, targets.has_mask)


def test_only_masks_are_pasted():
    above = relabelled(filled([[0, 0, 5, 5], [10, 0, 20, 10], [22, 12, 28, 18]], SIZE, unmasked={0}))
    mixed = paste_all(Targets(torch.tensor([[20, 0, 30, 5]]), torch.tensor([7])), above)
    assert mixed.targets.labels.tolist() == [7, 101, 102] and mixed.targets.has_mask.tolist() == [False, True, True]
    assert torch.equal(mixed.image[:, 0:5, 0:5], IMAGE[:, 0:5, 0:5])
    assert torch.equal(mixed.image[:, 0:10, 10:20], 255 - IMAGE[:, 0:10, 10:20])
    bare = relabelled(Targets(torch.tensor([[0, 0, 5, 5]]), torch.tensor([0])))
    assert paste_all(filled(BOXES, SIZE), bare).targets.labels.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("box", "visibility", "stays"),
    [
        ([10, 0, 20, 10], 0.0, False),  # covered wholly
        ([12, 2, 14, 9], 0.0, False),
        ([10, 0, 20, 11], 0.0, True),  # 10 of 110 pixels are free
        ([10, 0, 20, 11], 0.0909, True),
        ([10, 0, 20, 11], 0.092, False),
        ([10.5, 0, 20.2, 10], 0.05, True),  # touches a column beside
        ([0, 12, 8, 20], 1.0, True),
    ],
)
def test_a_covered_box_stays_whole_or_goes(box, visibility, stays):
    above = relabelled(filled([[10, 0, 20, 10]], SIZE))
    masked = filled([[15, 12, 18, 15], [15, 5, 18, 15]], SIZE)  # the second loses half
    below = Targets.cat([masked, Targets(torch.tensor([box]), torch.tensor([9]))])
    mixed = paste_all(below, above, min_visibility=visibility)
    kept = [0, *([1] if visibility <= 0.5 else []), *([9] if stays else []), 100]
    assert mixed.targets.labels.tolist() == kept and mixed.dropped == 4 - len(kept)
    if stays:
        torch.testing.assert_close(mixed.targets.boxes[-2], torch.tensor(box, dtype=torch.float))
        assert not mixed.targets.has_mask[-2]
    if visibility <= 0.5:
        assert mixed.targets.boxes[1].tolist() == [15, 10, 18, 15]


def test_a_mosaic_of_images_with_and_without_masks():
    kinds = [filled([[0, 0, 30, 20]], SIZE), Targets(torch.tensor([[0, 0, 30, 20]]), torch.tensor([0]))]
    samples = [Sample(IMAGE, copy.deepcopy(kinds[i % 2]), i, "a", SIZE) for i in range(4)]
    endless = itertools.cycle(samples[1:])
    mixed = Mosaic(size=[20, 30]).mix(samples[0], lambda: next(endless), torch.Generator().manual_seed(1))
    assert mixed.targets.has_mask.tolist() == [True, False, True, False]
    areas = (mixed.targets.boxes[:, 2:] - mixed.targets.boxes[:, :2]).prod(1)
    assert areas.sum() == 600 and torch.equal(mixed.targets.masks.areas(), (areas * mixed.targets.has_mask).long())


def test_every_mixing_transform_is_tried_here():
    mixing = {name for name, cls in TRANSFORM_REGISTRY if issubclass(cls, MixingTransform)}
    assert mixing == {"Mosaic", "CopyPaste"}, "try a new one on objects without masks, too"
