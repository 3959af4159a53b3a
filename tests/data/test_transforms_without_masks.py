"""Every transform moves objects with a box and no mask together with the others."""

import copy
import itertools

import numpy as np
import pytest
import torch

from segkit.data.transforms import Compose, CopyPaste, MixingTransform, Mosaic, Photometric, geometry
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.affine import affine_matrix


def filled(boxes, size, unmasked=()):
    """Targets of integer boxes with masks that fill them, object i of label i; objects in ``unmasked`` have no mask."""
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
def test_objects_with_and_without_masks_move_like_single_objects(name, arguments):
    """Objects with and without masks in one image move as in images that have only one kind, and keep their order."""
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
        assert mixed.targets.masks is None or mixed.targets.masks.image_size == tuple(mixed.image.shape[1:])
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
    """Pastes every object of ``above`` that has a mask over ``below``, on images of the same size."""
    over = Sample(255 - IMAGE, above, 2, "b.png", SIZE)
    for seed in range(50):  # the number of pasted objects is random
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
        ([10, 0, 20, 10], 0.0, False),  # covered completely
        ([12, 2, 14, 9], 0.0, False),
        ([10, 0, 20, 11], 0.0, True),  # 10 of 110 pixels are free
        ([10, 0, 20, 11], 0.0909, True),
        ([10, 0, 20, 11], 0.092, False),
        ([10.5, 0, 20.2, 10], 0.05, True),  # touches an uncovered column
        ([0, 12, 8, 20], 1.0, True),
    ],
)
def test_a_covered_box_without_a_mask_stays_or_is_dropped(box, visibility, stays):
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
