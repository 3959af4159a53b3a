"""Detections mapped back to the file, against dense grids of pixel numbers and a chain of plain inverse functions."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from geometry_scenes import FILE, numbered_file, some_detections
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from segkit.data.transforms import geometry
from segkit.structures import Detections
from segkit.structures.pasting import paste_masks

thorough = settings(deadline=None, derandomize=True, max_examples=40)

lossless = st.one_of(
    st.tuples(st.just("hflip")),
    st.tuples(st.just("vflip")),
    st.tuples(st.just("rot90"), st.integers(0, 3)),
    st.tuples(st.just("crop"), st.lists(st.floats(0, 1), min_size=4, max_size=4)),
    st.tuples(st.just("pad"), st.integers(0, 9), st.integers(0, 9)),
)
resize = st.tuples(st.just("resize"), st.integers(8, 90), st.integers(8, 90))


def apply(sample, operation):
    """The sample after one operation, and plain functions that take points x, y back and forth; for those cut off, NaN."""
    name, *arguments = operation
    height, width = sample.image.shape[1:]
    if name == "hflip":
        return geometry.hflip(sample), lambda x, y: (width - x, y), lambda x, y: (width - x, y)
    if name == "vflip":
        return geometry.vflip(sample), lambda x, y: (x, height - y), lambda x, y: (x, height - y)
    if name == "rot90":
        back = [lambda x, y: (x, y), lambda x, y: (width - y, x), lambda x, y: (width - x, height - y)]
        forth = [lambda x, y: (x, y), lambda x, y: (y, width - x), lambda x, y: (width - x, height - y)]
        back.append(lambda x, y: (y, height - x))
        forth.append(lambda x, y: (height - y, x))
        return geometry.rot90(sample, arguments[0]), back[arguments[0]], forth[arguments[0]]
    if name == "crop":
        a, b, c, d = arguments[0]
        x0, y0 = int(a * 0.4 * (width - 1)), int(b * 0.4 * (height - 1))
        x1, y1 = width - int(c * 0.4 * (width - x0 - 1)), height - int(d * 0.4 * (height - y0 - 1))

        def forth(x, y):
            inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
            return np.where(inside, x - x0, np.nan), np.where(inside, y - y0, np.nan)

        return geometry.crop(sample, (x0, y0, x1, y1)), lambda x, y: (x + x0, y + y0), forth
    if name == "pad":
        size = (height + arguments[0], width + arguments[1])
        return geometry.pad(sample, size), lambda x, y: (x, y), lambda x, y: (x, y)
    new_height, new_width = arguments
    back = lambda x, y: (x * width / new_width, y * height / new_height)  # noqa: E731
    return (
        geometry.resize(sample, (new_height, new_width)),
        back,
        lambda x, y: (x * new_width / width, y * new_height / height),
    )


def run(sample, operations):
    backs, forths = [], []
    for operation in operations:
        sample, back, forth = apply(sample, operation)
        backs.append(back)
        forths.append(forth)

    def to_file(x, y):
        for back in reversed(backs):
            x, y = back(x, y)
        return x, y

    def from_file(x, y):
        for forth in forths:
            x, y = forth(x, y)
        return x, y

    return sample, to_file, from_file


def interpolated(probs, box, x, y):
    """The values of M x M cells spread over a box, with zeros around, at points x, y: bilinear, in fp64."""
    cells = len(probs)
    padded = np.pad(probs.double().numpy(), 1)
    x0, y0, x1, y1 = box.double().tolist()
    u = np.clip((np.nan_to_num(x, nan=-1e6) - x0) / (x1 - x0) * cells + 0.5, 0, cells + 1)
    v = np.clip((np.nan_to_num(y, nan=-1e6) - y0) / (y1 - y0) * cells + 0.5, 0, cells + 1)
    left, top = np.minimum(u.astype(int), cells), np.minimum(v.astype(int), cells)
    u, v = u - left, v - top
    upper = padded[top, left] * (1 - u) + padded[top, left + 1] * u
    lower = padded[top + 1, left] * (1 - u) + padded[top + 1, left + 1] * u
    return upper * (1 - v) + lower * v


@thorough
@given(st.lists(lossless, max_size=5), st.integers(0, 10**6))
def test_masks_go_where_their_pixels_came_from(operations, seed):
    """Without a resize the file's mask is the image's, pixel by pixel."""
    sample, _, _ = run(numbered_file(), operations)
    found = some_detections(tuple(sample.image.shape[1:]), seed)
    shown = sample.image[2].bool().numpy()
    pixel_indices = (sample.image[0].long() + 256 * sample.image[1].long()).numpy()[shown]
    expected = {}
    for label, mask in enumerate(paste_masks(found.mask_probs, found.boxes, found.size).to_dense().numpy()):
        expected[label] = np.zeros(FILE, bool)
        expected[label].flat[pixel_indices] = mask[shown]
    mapped = sample.map_to_file(found)
    assert mapped.size == FILE
    for label, mask, rle in zip(mapped.labels.tolist(), mapped.masks.to_dense().numpy(), mapped.to_rle(), strict=True):
        assert np.array_equal(mask, expected.pop(label))
        assert np.array_equal(mask_api.decode({**rle, "counts": rle["counts"].encode()}), mask)
    assert not any(mask.any() for mask in expected.values())  # those that were dropped


@thorough
@given(st.lists(st.one_of(lossless, resize), max_size=6), st.integers(0, 10**6))
def test_any_composition_is_inverted(operations, seed):
    sample, to_file, from_file = run(numbered_file(), operations)
    size = tuple(sample.image.shape[1:])
    assert sample.geometry is None or sample.geometry.size == size
    found = some_detections(size, seed)
    mapped = found.mapped_to_file(sample.known_geometry)
    y, x = np.mgrid[: FILE[0], : FILE[1]] + 0.5
    seen_x, seen_y = from_file(x, y)
    masks = dict(zip(mapped.labels.tolist(), mapped.masks.to_dense().numpy(), strict=True))
    for label in range(len(found)):
        values = interpolated(found.mask_probs[label], found.boxes[label], seen_x, seen_y)
        values[np.isnan(seen_x) | np.isnan(seen_y)] = 0
        got = masks.get(label, np.zeros(FILE, bool))
        assert np.array_equal(got | (abs(values - 0.5) < 1e-4), (values >= 0.5) | (abs(values - 0.5) < 1e-4))
    # Boxes: the inverse functions at two corners, within what the file and the image share.
    edge = np.linspace(0, 1, 4001)[1:-1]
    along_x = from_file(edge * FILE[1], np.full_like(edge, _seen_point(from_file)[1]))
    along_y = from_file(np.full_like(edge, _seen_point(from_file)[0]), edge * FILE[0])
    low_x, high_x = _span(edge * FILE[1], along_x)
    low_y, high_y = _span(edge * FILE[0], along_y)
    for label, box in zip(mapped.labels.tolist(), mapped.boxes.double().numpy(), strict=True):
        x0, y0, x1, y1 = found.boxes[label].double().tolist()
        (ax, bx), (ay, by) = to_file(np.array([x0, x1]), np.array([y0, y1]))
        expected = [min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)]
        expected = np.clip(expected, [low_x, low_y] * 2, [high_x, high_y] * 2)
        assert np.allclose(box, expected, atol=0.05)  # the limits are found on a grid of 4,001 places
        inside = (expected > np.array([low_x, low_y] * 2) + 0.1) & (expected < np.array([high_x, high_y] * 2) - 0.1)
        assert np.allclose(box[inside], expected[inside], atol=1e-4)


def _seen_point(from_file):
    """A point of the file that is in the image."""
    y, x = np.mgrid[: 8 * FILE[0], : 8 * FILE[1]] / 8 + 1 / 16
    seen = np.argwhere(~np.isnan(from_file(x, y)[0] + from_file(x, y)[1]))
    row, column = seen[len(seen) // 2]
    return x[row, column], y[row, column]


def _span(coordinates, seen):
    kept = coordinates[~np.isnan(seen[0] + seen[1])]
    return kept.min(), kept.max()


@pytest.mark.parametrize(
    ("flip", "numpy_flip"),
    [
        (geometry.hflip, lambda mask: mask[:, ::-1]),
        (geometry.vflip, lambda mask: mask[::-1]),
        (lambda sample: geometry.rot90(sample, 1), lambda mask: np.rot90(mask, -1)),
        (lambda sample: geometry.rot90(sample, 2), lambda mask: np.rot90(mask, 2)),
        (lambda sample: geometry.rot90(sample, 3), lambda mask: np.rot90(mask, 1)),
        (lambda sample: geometry.hflip(geometry.rot90(sample, 1)), lambda mask: mask[:, ::-1].swapaxes(0, 1)[:, ::-1]),
    ],
)
def test_masks_of_zeros_and_ones_have_no_ties_of_their_own(flip, numpy_flip):
    """Values halfway between two cells fall on the threshold: they have to fall as in the mirrored image."""
    sample = flip(numbered_file((40, 24)))
    size = tuple(sample.image.shape[1:])
    found = some_detections(size, 3, count=30, cells=4)
    found.mask_probs = (found.mask_probs > 0.5).float()
    found.boxes = (found.boxes * 2).round() / 2
    plain = paste_masks(found.mask_probs, found.boxes, size).to_dense().numpy()
    mapped = sample.map_to_file(found)
    expected = np.stack([numpy_flip(mask) for mask in plain])
    assert expected.shape[1:] == (40, 24)
    assert np.array_equal(mapped.masks.to_dense().numpy(), expected)


def test_public_probabilities_are_in_the_files_orientation():
    """Pasting ``mask_probs`` in ``boxes`` returns the masks."""
    for operations in ([("hflip",)], [("vflip",), ("rot90", 1)], [("rot90", 3), ("resize", 60, 70)]):
        sample, _, _ = run(numbered_file(), operations)
        mapped = sample.map_to_file(some_detections(tuple(sample.image.shape[1:]), 1))
        assert mapped.paste_frame is not None
        differ = paste_masks(mapped.mask_probs, mapped.boxes, FILE).to_dense() != mapped.masks.to_dense()
        assert differ.float().mean() < 0.002


def test_detections_in_padding_are_dropped_and_those_at_its_border_clipped():
    sample = geometry.pad(geometry.crop(numbered_file(), (10, 5, 40, 25)), (50, 60))
    boxes = torch.tensor([[31.0, 3, 50, 9], [20, 10, 50, 40], [0, 0, 30, 20], [0, 21, 5, 25]])
    found = Detections(boxes, torch.ones(4), torch.arange(4), torch.ones(4, 4, 4), (50, 60))
    mapped = sample.map_to_file(found)
    assert mapped.labels.tolist() == [1, 2] and mapped.boxes.tolist() == [[30, 15, 40, 25], [10, 5, 40, 25]]
    masks = mapped.masks.to_dense()
    assert not masks[:, :, 40:].any() and not masks[:, 25:].any()  # of the file, but never shown to the model
    whole = paste_masks(torch.ones(1, 4, 4), boxes[1:2], (50, 60)).to_dense()  # the mask is not squeezed into the rest
    assert torch.equal(masks[0, 5:25, 10:40], whole[0, :20, :30])


def test_padding_is_no_part_of_the_file():
    """A crop that shows padding alone."""
    sample = geometry.crop(geometry.pad(numbered_file(), (50, 90)), (60, 0, 90, 50))
    mapped = sample.map_to_file(some_detections((50, 30), 0))
    assert len(mapped) == 0 and mapped.size == FILE and mapped.to_rle() == [] and mapped.masks.image_size == FILE


def test_a_view_smaller_than_a_pixel_of_the_file():
    sample = geometry.crop(geometry.resize(numbered_file(), (370, 530)), (101, 201, 103, 203))
    mapped = sample.map_to_file(Detections(torch.tensor([[0.0, 0, 2, 2]]), torch.ones(1), torch.zeros(1), None, (2, 2)))
    assert torch.allclose(mapped.boxes, torch.tensor([[10.1, 20.1, 10.3, 20.3]]))
    masked = Detections(torch.tensor([[0.0, 0, 2, 2]]), torch.ones(1), torch.zeros(1), torch.ones(1, 4, 4), (2, 2))
    assert not sample.map_to_file(masked).masks.to_dense().any()  # no pixel's centre is in it


def test_choosing_moving_and_resizing_mapped_detections():
    sample, _, _ = run(numbered_file(), [("resize", 50, 60), ("rot90", 1), ("crop", [0.3, 0.2, 0.5, 0.1]), ("hflip",)])
    mapped = sample.map_to_file(some_detections(tuple(sample.image.shape[1:]), 5))
    dense = mapped.masks.to_dense()
    for index in (torch.tensor([2, 0]), [1], slice(1, 3), mapped.scores > 0.6):
        fresh = pickle.loads(pickle.dumps(sample)).map_to_file(some_detections(tuple(sample.image.shape[1:]), 5))
        chosen = fresh[index].to("cpu")
        assert torch.equal(chosen.masks.to_dense(), dense[index]) and torch.equal(chosen.boxes, mapped.boxes[index])
        assert chosen.to_rle() == mapped[index].to_rle()
    twice = mapped.resized((2 * FILE[0], 2 * FILE[1]))
    assert torch.allclose(twice.boxes, mapped.boxes * 2) and twice.masks.image_size == (74, 106)
    halves = twice.masks.to_dense()[:, ::2, ::2] | twice.masks.to_dense()[:, 1::2, 1::2]
    assert (halves != dense).float().mean() < 0.02


def test_operations_that_cancel_leave_the_file():
    operations = [("hflip",), ("rot90", 1), ("pad", 5, 7), ("vflip",), ("vflip",), ("rot90", 3), ("hflip",)]
    sample, _, _ = run(numbered_file(), operations[:2] + operations[3:])
    assert sample.geometry.is_resize and sample.output_size == FILE
    assert not run(numbered_file(), operations)[0].geometry.is_resize
    assert run(numbered_file(), [("resize", 9, 8), ("resize", 70, 71)])[0].geometry.is_resize
    scale = run(numbered_file(), [("resize", 9, 8), ("resize", 70, 71)])[0].geometry.scale
    assert scale == (Fraction(71, 53), Fraction(70, 37))


@pytest.mark.gpu
def test_on_cuda():
    sample, _, _ = run(
        numbered_file(), [("resize", 50, 60), ("rot90", 1), ("crop", [0.3, 0.2, 0.5, 0.1]), ("pad", 9, 9)]
    )
    found = some_detections(tuple(sample.image.shape[1:]), 5)
    here, there = sample.map_to_file(found), sample.map_to_file(found.to("cuda"))
    assert there.boxes.is_cuda and there.masks.device.type == "cuda" and torch.equal(here.boxes, there.boxes.cpu())
    assert (here.masks.to_dense() != there.to("cpu").masks.to_dense()).float().mean() < 1e-3
