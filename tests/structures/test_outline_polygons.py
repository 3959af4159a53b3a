"""Outlines along the edges of pixels: rasterising them restores the mask."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.data.formats.parsing.masks import subtract_holes
from segkit.structures import InstanceMasks
from segkit.structures.outline_polygons import even_odd_polygon, mask_outlines


def flat(ring):
    return ring.reshape(-1).tolist()


def redrawn(masks):
    """The masks that the outlines describe: the union of the parts, each an outer ring without its holes."""
    outlines = mask_outlines(masks)
    parts = [part for parts in outlines for part in parts]
    drawn = InstanceMasks.from_polygons([[flat(ring)] for ring, _ in parts], masks.image_size)
    drawn = subtract_holes(drawn, [[flat(hole) for hole in holes] for _, holes in parts]).to_dense()
    owners = torch.tensor([i for i, parts in enumerate(outlines) for _ in parts])
    return torch.stack([drawn[owners == i].any(0) for i in range(len(masks))])


def bridged(masks):
    """The masks drawn from one polygon an object."""
    polygons = [[flat(even_odd_polygon(parts))] if parts else [] for parts in mask_outlines(masks)]
    return InstanceMasks.from_polygons(polygons, masks.image_size)


def area2(ring):
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


@st.composite
def dense_masks(draw):
    """Random masks of blocks and single pixels: holes, several parts, borders, pixels that touch at a corner."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    dense = rng.random((count, height, width)) < draw(st.sampled_from([0, 0.02, 0.3, 0.5, 0.8, 1]))
    for mask in dense:
        for value in draw(st.lists(st.booleans(), max_size=4)):
            y, x = rng.integers(height), rng.integers(width)
            mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = value
    return torch.from_numpy(dense)


@settings(max_examples=150, deadline=None)
@given(dense_masks())
def test_outlines_restore_the_mask(dense):
    masks = InstanceMasks.from_dense(dense)
    assert torch.equal(redrawn(masks), dense)
    assert torch.equal(bridged(masks).to_dense(), dense)


@settings(max_examples=60, deadline=None)
@given(dense_masks())
def test_rings_are_those_of_connected_parts(dense):
    """Signed areas add up to the mask's, parts are the 4-connected ones, and each hole lies in its part."""
    measure = pytest.importorskip("skimage.measure")
    for mask, parts in zip(dense.numpy(), mask_outlines(InstanceMasks.from_dense(dense)), strict=True):
        labels, count = measure.label(mask, connectivity=1, return_num=True)
        assert len(parts) == count
        areas = [area2(outer) + sum(map(area2, holes)) for outer, holes in parts]
        by_part = [int((labels == labels[outer[0, 1], outer[0, 0]]).sum()) * 2 for outer, _ in parts]
        assert areas == by_part
        assert all(area2(outer) > 0 and all(area2(hole) < 0 for hole in holes) for outer, holes in parts)
        for ring in (ring for outer, holes in parts for ring in (outer, *holes)):
            steps = np.roll(ring, -1, 0) - ring
            assert ((steps != 0).sum(1) == 1).all()  # along one axis, and turning at each corner
            assert ((steps[:, 0] != 0) != (np.roll(steps, -1, 0)[:, 0] != 0)).all()


def test_a_square_with_a_hole():
    dense = torch.zeros(2, 8, 9, dtype=torch.bool)
    dense[1, 2:7, 3:8] = True
    dense[1, 4, 5] = False
    nothing, [(outer, [hole])] = mask_outlines(InstanceMasks.from_dense(dense))
    assert nothing == []
    assert outer.tolist() == [[3, 2], [8, 2], [8, 7], [3, 7]]
    assert sorted(hole.tolist()) == [[5, 4], [5, 5], [6, 4], [6, 5]]


def test_a_part_in_a_hole_of_another():
    dense = torch.ones(1, 7, 7, dtype=torch.bool)
    dense[0, 1:6, 1:6], dense[0, 2:5, 2:5], dense[0, 3, 3] = False, True, False
    masks = InstanceMasks.from_dense(dense)
    [[(_, [hole]), (inner, [small])]] = mask_outlines(masks)
    assert [len(ring) for ring in (hole, inner, small)] == [4, 4, 4] and inner[0].tolist() == [2, 2]
    assert torch.equal(redrawn(masks), dense) and torch.equal(bridged(masks).to_dense(), dense)


def test_pixels_that_touch_at_a_corner_are_two_parts():
    [parts] = mask_outlines(InstanceMasks.from_dense(torch.eye(2, dtype=torch.bool)[None]))
    assert [outer.tolist() for outer, _ in parts] == [
        [[0, 0], [1, 0], [1, 1], [0, 1]],
        [[1, 1], [2, 1], [2, 2], [1, 2]],
    ]
