"""Every registered transform, compared with a brute force on dense masks."""

import copy
import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.data import build_transforms
from segkit.data.transforms import (
    Compose,
    CopyPaste,
    MixingTransform,
    Mosaic,
    Photometric,
    RandomCrop,
    RandomQuarterTurn,
    geometry,
)
from segkit.data.transforms.resizing import shortest_edge_size
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.utils.errors import SegkitError

CASES = [(name, dict(arguments)) for name, cls in TRANSFORM_REGISTRY for arguments in getattr(cls, "examples", ({},))]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]
MOVING = [case for case in CASES if not issubclass(TRANSFORM_REGISTRY.get(case[0]), Photometric)]
every_transform = pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
SEEDS = range(6)
few = settings(
    deadline=None, derandomize=True, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _build(name, arguments):
    return TRANSFORM_REGISTRY.build({"name": name, **arguments})


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _apply(transform, sample, generator, others=()):
    """Applies a transform; mixing transforms draw ``others`` (by default the sample itself) cyclically."""
    endless = itertools.cycle(others or [sample])
    return Compose([transform])(sample, generator, lambda _: next(endless))


def _state(sample):
    masks = sample.targets.masks
    return [
        sample.image,
        sample.targets.boxes,
        sample.targets.labels,
        sample.targets.crowd,
        masks.bits,
        masks.crop_boxes,
    ]


def _samples_of(transform, dense):
    """The samples that a transform needs, with the objects of ``dense`` [N, H, W] distributed over them.

    The image's channels are the masks (0 or 255), and the label i is object i: brute force in itself. For a transform
    that mixes images four samples share the objects and the channels.
    """
    count = 4 if isinstance(transform, MixingTransform) else 1
    samples = []
    for own in torch.arange(len(dense)).tensor_split(count):
        image = torch.zeros_like(dense, dtype=torch.uint8)
        image[own] = dense[own].to(torch.uint8) * 255
        masks = InstanceMasks.from_dense(dense[own])
        samples.append(Sample(image, Targets(masks.boxes(), own, masks), 7, "a.png", tuple(dense.shape[1:])))
    return samples


def _check_against_image(transform, dense, seed):
    """Asserts that masks and boxes fit the image, whose channels are the dense masks."""
    first, *others = _samples_of(transform, dense)
    result = _apply(transform, first, _seeded(seed), others)
    moved = result.targets.masks.to_dense()
    labels = result.targets.labels
    height, width = result.image.shape[1:]
    assert moved.shape[1:] == (height, width) and result.image.dtype == torch.uint8
    assert torch.equal(result.targets.masks.crop_boxes, InstanceMasks.from_dense(moved).crop_boxes)
    shown = result.image[labels].float()
    certain = (shown - 127.5).abs() > 2  # uint8 rounds near 0.5
    lone = moved.flatten(1).sum(1) == 1  # rescued: the largest pixel stays, although it is below 0.5
    wrong = ((shown > 127.5) != moved) & certain
    assert not wrong[~lone].any()
    largest = shown[lone] >= shown[lone].amax((1, 2), keepdim=True) - 2
    assert (moved[lone] & largest).flatten(1).any(1).all()
    # Boxes contain the masks, except for one pixel by which the threshold can move an edge.
    boxes = result.targets.boxes
    beyond = (result.targets.masks.boxes() - boxes) * torch.tensor([-1, -1, 1, 1])
    assert (beyond[~lone] <= 1.01).all()
    assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert len(boxes) == len(labels) == len(labels.unique())
    # Objects are dropped with box and label, are counted, and only if (almost) nothing of them remains.
    had = first.targets.labels
    if isinstance(transform, Mosaic):
        had = torch.cat([had, *(other.targets.labels for other in others[:3])])
    gone = had[~torch.isin(had, labels)]
    assert result.dropped == len(gone)
    left = (result.image[gone] > 0).flatten(1).sum(1)
    areas = dense.flatten(1).sum(1)
    assert ((left == 0) | (left < getattr(transform, "min_visibility", 0) * areas[gone])).all()
    return result


@every_transform
def test_image_boxes_and_masks_move_together(name, arguments, dense_masks, color_sample):
    transform = _build(name, arguments)
    if isinstance(transform, Photometric):
        for seed in SEEDS:
            result = transform(color_sample, _seeded(seed))
            assert result.image.shape == color_sample.image.shape and result.image.dtype == torch.uint8
            assert result.targets is color_sample.targets
        return
    for seed in SEEDS:
        result = _check_against_image(transform, dense_masks, seed)
        # Boxes are tight, because no object has thin parts that disappear when shrunk.
        beyond = (result.targets.masks.boxes() - result.targets.boxes).abs()
        assert (beyond[result.targets.masks.areas() > 1] <= 1.01).all()


# At least 2 pixels: torch 2.14 resizes uint8 images that are 1 pixel wide to noise.
@few
@given(count=st.integers(0, 9), size=st.tuples(st.integers(2, 50), st.integers(2, 50)), seed=st.integers(0, 10**6))
@pytest.mark.parametrize(("name", "arguments"), MOVING, ids=[f"{name}-{i}" for i, (name, _) in enumerate(MOVING)])
def test_any_objects(name, arguments, draw_objects, count, size, seed):
    dense = draw_objects(count, *size, seed)
    _check_against_image(_build(name, arguments), dense[dense.flatten(1).any(1)], seed)


@pytest.fixture(scope="module")
def thousand(draw_objects):
    dense = draw_objects(1200, 30, 40)
    dense = dense[dense.flatten(1).any(1)][:1000]
    assert len(dense) == 1000
    return dense


@pytest.mark.parametrize("name", sorted({name for name, _ in MOVING}))
def test_thousand_objects(name, thousand):
    arguments = next(arguments for known, arguments in MOVING if known == name)
    _check_against_image(_build(name, arguments), thousand, 3)


@every_transform
def test_same_generator_same_result(name, arguments, color_sample):
    transform = _build(name, arguments)
    original = copy.deepcopy(color_sample)
    torch.manual_seed(1)
    first = _apply(transform, color_sample, _seeded(4))
    after_first = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(2), after_first), "the global generator was used"
    second = _apply(transform, color_sample, _seeded(4))
    assert all(torch.equal(a, b) for a, b in zip(_state(first), _state(second), strict=True))
    unchanged = zip(_state(color_sample), _state(original), strict=True)
    assert all(torch.equal(a, b) for a, b in unchanged), "changed in place"
    assert (first.image_id, first.file_name, first.size) == (7, "a.png", (61, 83))
    assert first.annotations is color_sample.annotations


@every_transform
def test_without_objects_and_without_masks(name, arguments, color_sample):
    transform = _build(name, arguments)
    for seed in range(3):
        empty = Sample(color_sample.image, Targets.empty((61, 83)), 1, "a", (61, 83))
        result = _apply(transform, empty, _seeded(seed))
        assert len(result.targets) == 0 and result.targets.masks.image_size == tuple(result.image.shape[1:])
        boxes_only = Targets(color_sample.targets.boxes, color_sample.targets.labels)
        bare = Sample(color_sample.image, boxes_only, 1, "a", (61, 83))
        result = _apply(transform, bare, _seeded(seed))
        assert result.targets.masks is None
        assert result.dropped + len(result.targets) == 9 * (4 if isinstance(transform, Mosaic) else 1)


@every_transform
def test_one_pixel_image(name, arguments):
    transform = _build(name, arguments)
    masks = InstanceMasks.from_dense(torch.ones(1, 1, 1, dtype=torch.bool))
    targets = Targets(masks.boxes(), torch.tensor([0]), masks)
    sample = Sample(torch.full((3, 1, 1), 9, dtype=torch.uint8), targets, 1, "a", (1, 1))
    result = _apply(transform, sample, _seeded(0))
    copies = 4 if isinstance(transform, Mosaic) else 1
    assert len(result.targets) + result.dropped == copies + isinstance(transform, CopyPaste) * (result is not sample)
    assert len(result.targets) == 0 or result.targets.masks.to_dense().flatten(1).any(1).all()


@pytest.mark.parametrize("k", [0, 1, 2, 3, 5])
def test_quarter_turns(mask_sample, dense_masks, k):
    result = geometry.rot90(mask_sample, k)
    assert torch.equal(result.targets.masks.to_dense(), torch.rot90(dense_masks, k, (1, 2)))
    assert torch.equal(result.targets.boxes, result.targets.masks.boxes())


def test_all_four_orientations_are_equally_likely(color_sample):
    turn, generator = RandomQuarterTurn(), _seeded(0)
    seen = [tuple(turn(color_sample, generator).image[0].flatten()[:3].tolist()) for _ in range(200)]
    assert sorted(seen.count(s) for s in set(seen))[0] > 30 and len(set(seen)) == 4


def test_resize_keeps_boxes_continuous_and_counts_rescued_masks(mask_sample):
    result = geometry.resize(mask_sample, (7, 9))
    assert torch.allclose(result.targets.boxes, mask_sample.targets.boxes * torch.tensor([9 / 83, 7 / 61] * 2))
    assert result.rescued >= 1 and (result.targets.masks.areas() > 0).all() and result.dropped == 0
    assert geometry.resize(mask_sample, (61, 83)) is mask_sample


@pytest.mark.parametrize("antialias", [True, False])
def test_antialias_is_passed_on(mask_sample, dense_masks, antialias):
    result = geometry.resize(mask_sample, (23, 31), antialias)
    dense = dense_masks[None].float()
    exact = torch.nn.functional.interpolate(dense, (23, 31), mode="bilinear", antialias=antialias)[0]
    assert ((result.image.float() / 255 - exact).abs() < 0.02).all()
    kept = (exact >= 0.5).flatten(1).any(1)
    sure = (exact - 0.5).abs() > 1e-4
    assert not ((result.targets.masks.to_dense() != (exact >= 0.5)) & sure)[kept].any()


def test_crop_against_dense(mask_sample, dense_masks):
    generator = _seeded(0)
    for _ in range(40):
        x = torch.randint(0, 84, (2,), generator=generator).sort().values.tolist()
        y = torch.randint(0, 62, (2,), generator=generator).sort().values.tolist()
        if x[0] == x[1] or y[0] == y[1]:
            continue
        expected = dense_masks[:, y[0] : y[1], x[0] : x[1]]
        kept = expected.flatten(1).any(1)
        result = geometry.crop(mask_sample, (x[0], y[0], x[1], y[1]))
        assert torch.equal(result.targets.masks.to_dense(), expected[kept])
        assert torch.equal(result.targets.boxes, InstanceMasks.from_dense(expected[kept]).boxes())
        assert result.targets.labels.tolist() == kept.nonzero().flatten().tolist()
        assert result.dropped == int((~kept).sum())


def test_min_visibility(mask_sample, dense_masks):
    kept = dense_masks[:, :, :42].flatten(1).sum(1) >= 0.5 * dense_masks.flatten(1).sum(1)
    result = geometry.crop(mask_sample, (0, 0, 42, 61), min_visibility=0.5)
    assert result.targets.labels.tolist() == kept.nonzero().flatten().tolist() and 0 < result.dropped < 9


def test_crop_larger_than_the_image_changes_nothing(color_sample):
    assert RandomCrop(size=500)(color_sample, _seeded(0)) is color_sample


def test_box_inside_the_crop_keeps_its_fractions(color_sample):
    boxes = torch.tensor([[30.25, 20.5, 50.5, 40.75]])
    masks = color_sample.targets.masks[[0]]
    sample = Sample(color_sample.image, Targets(boxes, torch.tensor([0]), masks), 1, "a", (61, 83))
    assert geometry.crop(sample, (10, 10, 60, 50)).targets.boxes.tolist() == [[20.25, 10.5, 40.5, 30.75]]


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [(800, 1333, (800, 1333)), (800, None, (800, 1333)), (300, 400, (240, 400)), (600, 1000, (600, 1000))],
)
def test_shortest_edge_size(size, limit, expected):
    assert shortest_edge_size(600, 1000, size, limit) == expected
    assert shortest_edge_size(1000, 600, size, limit) == expected[::-1]
    assert shortest_edge_size(1, 3000, 800, 1333) == (1, 1333)


def test_photometric_strength_and_p_zero(color_sample):
    still = TRANSFORM_REGISTRY.build({"name": "ColorJitter", "p": 0.0, "brightness": 0.9})
    assert still(color_sample, _seeded(0)) is color_sample
    jitter = TRANSFORM_REGISTRY.build({"name": "ColorJitter", "brightness": 0.9})
    results = [jitter(color_sample, _seeded(s)).image for s in (1, 2)]
    assert not torch.equal(results[0], results[1])


def test_build_transforms_names_the_key_path(color_sample):
    composed = build_transforms([{"name": "RandomHorizontalFlip", "p": 1.0}, {"name": "Resize", "size": 32}])
    assert composed(color_sample, _seeded(0)).image.shape == (3, 32, 32)
    assert "RandomHorizontalFlip(p=1.0)" in repr(composed)
    with pytest.raises(SegkitError, match=r"data.train_transforms\[0\]: p: .*0 to 1; got 2"):
        build_transforms([{"name": "RandomVerticalFlip", "p": 2}], path="data.train_transforms")
    with pytest.raises(SegkitError, match="got \\[1, 2, 3\\]"):
        build_transforms([{"name": "Resize", "size": [1, 2, 3]}])
