"""Simplified outlines equal a recursive Douglas-Peucker, and pictures fit into their bytes."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from segkit.structures import InstanceMasks
from segkit.structures.outline_polygons import mask_outlines
from segkit.visualization.colors import hue_colors, instance_colors, instance_hues
from segkit.visualization.data_uris import bounded_picture_uri, picture_uri
from segkit.visualization.svg_paths import simplify, svg_paths

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


def recursive(points: list, tolerance: float) -> list:
    """Douglas and Peucker on an open line; its last point is not returned."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    length = float(np.hypot(x1 - x0, y1 - y0))
    away = [
        abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length if length else float(np.hypot(x - x0, y - y0))
        for x, y in points[1:-1]
    ]
    if not away or max(away) <= tolerance:
        return points[:1]
    middle = away.index(max(away)) + 1
    return recursive(points[: middle + 1], tolerance) + recursive(points[middle:], tolerance)


def expected(ring: np.ndarray, tolerance: float) -> list:
    points = ring.tolist()
    if len(points) < 5:
        return points
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    kept = recursive(points[: far + 1], tolerance) + recursive([*points[far:], points[0]], tolerance)
    return kept if len(kept) > 2 else points


@settings(max_examples=60, deadline=None)
@given(MASKS, st.sampled_from([0.0, 0.3, 0.8, 2.0]))
def test_simplified_rings(dense, tolerance):
    objects = mask_outlines(InstanceMasks.from_dense(torch.from_numpy(dense)))
    rings = [np.asarray(r, float) for parts in objects for outer, holes in parts for r in (outer, *holes)]
    assert [ring.tolist() for ring in simplify(rings, tolerance)] == [expected(ring, tolerance) for ring in rings]


def test_simplified_outlines_stay_near():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ring = np.round(np.stack([np.cos(angle), np.sin(angle)], 1) * 50)
    (kept,) = simplify([ring], 0.8)
    assert 8 < len(kept) < 80
    assert simplify([], 0.8) == []


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_paths_without_tolerance_are_the_masks(dense):
    masks = InstanceMasks.from_dense(torch.from_numpy(dense))
    for mask, path in zip(dense, svg_paths(mask_outlines(masks), 1, 0), strict=True):
        drawn = np.zeros(mask.shape, bool)
        for start, steps in re.findall(r"M([^l]*)l([^z]*)z", path):
            x, y = map(int, re.findall(r"-?\d+", start))
            moves = np.array(re.findall(r"-?\d+", steps), int).reshape(-1, 2)
            ring = np.cumsum(np.concatenate([[[x, y]], moves]), axis=0)
            drawn ^= inside(ring, mask.shape)
        assert (drawn == mask).all()


def inside(ring: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Whether the centre of each pixel is in a ring, by the even-odd rule."""
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    found = np.zeros(shape, bool)
    for (x0, y0), (_, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        found ^= (min(y0, y1) < ys) & (ys < max(y0, y1)) & (x0 > xs)
    return found


@pytest.mark.parametrize(("side", "kind"), [(100, "png"), (400, "(jpeg|webp)")])
def test_pictures_fit_into_their_bytes(side, kind):
    image = torch.randint(0, 255, (3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for limit in (1_000_000, 20_000, 5_000):
        uri = bounded_picture_uri(image, (side, side), limit)
        head, _, data = uri.partition(";base64,")
        content = base64.b64decode(data)
        assert len(content) <= limit
        assert re.fullmatch(f"data:image/({kind}|jpeg|webp)", head)
        assert Image.open(io.BytesIO(content)).size[0] <= side
    assert bounded_picture_uri(image, (side, side), 1_000_000).startswith(f"data:image/{'png' if side == 100 else ''}")
    assert picture_uri(image, (side, side)).startswith(f"data:image/{'png' if side == 100 else 'jpeg'};")


def test_known_hues_stay_and_neighbours_differ_from_them():
    boxes = np.array([[x, 0.0, x + 10, 10] for x in range(0, 60, 10)])
    known = np.array([-1, 3, -1, -1, 7, -1])
    hues = instance_hues(boxes, known)
    assert hues[1] == 3 and hues[4] == 7 and (hues >= 0).all() and known[0] == -1
    assert (hues[1:] != hues[:-1]).all()
    assert (instance_colors(boxes) == hue_colors()[instance_hues(boxes)]).all()
