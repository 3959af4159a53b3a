"""Parts, holes, overlaps and self-intersections equal a brute force on small masks and polygons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segkit.dataset_tools.check.components import parts_and_holes
from segkit.dataset_tools.check.overlaps import alike_pairs, overlapping_pairs
from segkit.dataset_tools.check.polygons import polygon_problems
from segkit.structures import InstanceMasks, Targets

SMALL = arrays.arrays(bool, st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9)))
EIGHT = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
FOUR = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def count_regions(mask: np.ndarray, neighbours: list[tuple[int, int]]) -> int:
    remaining, regions = {tuple(pixel) for pixel in np.argwhere(mask).tolist()}, 0
    while remaining:
        regions += 1
        stack = [remaining.pop()]
        while stack:
            y, x = stack.pop()
            found = {(y + dy, x + dx) for dy, dx in neighbours} & remaining
            remaining -= found
            stack += found
    return regions


@settings(max_examples=100, deadline=None)
@given(SMALL)
def test_parts_and_holes(dense):
    masks = InstanceMasks.from_dense(torch.from_numpy(dense))
    parts, holes = parts_and_holes(masks.bits.numpy(), masks.crop_boxes.numpy())
    assert parts.tolist() == [count_regions(mask, EIGHT) for mask in dense]
    outside = [count_regions(np.pad(~mask, 1, constant_values=True), FOUR) for mask in dense]
    assert holes.tolist() == [number - 1 for number in outside]


def test_parts_of_long_spirals():
    """A part whose runs are far apart along the path, which needs many steps to join."""
    mask = torch.zeros(2, 41, 41, dtype=torch.bool)
    for k in range(0, 20, 2):
        mask[0, k : 41 - k, k : 41 - k] = True
        mask[0, k + 1 : 40 - k, k + 1 : 40 - k] = False
    mask[1] = mask[0]
    for k in range(0, 18, 2):
        mask[1, k + 1, k + 2] = True  # joins a ring with the next
    masks = InstanceMasks.from_dense(mask)
    parts, holes = parts_and_holes(masks.bits.numpy(), masks.crop_boxes.numpy())
    assert parts.tolist() == [10, 1] and holes.tolist() == [10, 10]


@settings(max_examples=100, deadline=None)
@given(SMALL, st.data())
def test_pairs(dense, data):
    count = len(dense)
    masks = InstanceMasks.from_dense(torch.from_numpy(dense))
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)), dtype=torch.long)
    targets = Targets(masks.boxes(), labels, masks)
    expected, overlaps = [], []
    for i in range(count):
        for j in range(i + 1, count):
            both, either = int((dense[i] & dense[j]).sum()), int((dense[i] | dense[j]).sum())
            if both and both / either > 0.4:
                expected.append((i, j, both / either))
            if both and labels[i] == labels[j]:
                overlaps.append((i, j, both))
    found = [(pair.first, pair.second, pytest.approx(pair.iou)) for pair in alike_pairs(targets, 0.4)]
    assert expected == found
    assert overlapping_pairs(targets) == overlaps


def test_pairs_of_boxes_without_masks(monkeypatch):
    monkeypatch.setattr("segkit.dataset_tools.overlaps.MAX_PAIRS", 1)
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9.9], [5, 0, 15, 10]])
    targets = Targets(boxes, torch.zeros(4, dtype=torch.long))
    pairs = alike_pairs(targets)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.iou for pair in pairs] == [1.0, pytest.approx(0.99), pytest.approx(0.99)]


def cross(u, v):
    return u[0] * v[1] - u[1] * v[0]


def intersects(points: np.ndarray) -> bool:
    count = len(points)
    for i in range(count):
        for j in range(i):
            a, b, c, d = points[i], points[(i + 1) % count], points[j], points[(j + 1) % count]
            on_both_sides = cross(b - a, c - a) * cross(b - a, d - a) < 0
            if on_both_sides and cross(d - c, a - c) * cross(d - c, b - c) < 0:
                return True
    return False


def problems(polygons):
    counts = np.array([len(polygon) for polygon in polygons], np.int64)
    return polygon_problems(np.concatenate([np.zeros((0, 2)), *polygons]), counts)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(arrays.arrays(np.int64, st.tuples(st.integers(3, 7), st.just(2)), elements=st.integers(0, 5)), max_size=4)
)
def test_polygons(polygons):
    found = problems(polygons)
    for points, problem in zip(polygons, found, strict=True):
        flat = all(cross(p - points[0], q - points[0]) == 0 for p in points for q in points)
        assert (problem == "degenerate_polygon") == flat
        kept = points[(points != np.roll(points, 1, axis=0)).any(1)]
        if not flat:
            assert (problem == "self_intersecting") == intersects(kept)


def circle(count, rounds=1):
    angles = np.linspace(0, 2 * np.pi * rounds, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def test_long_polygons(monkeypatch):
    flower = circle(400) * (10 + 5 * np.sin(9 * np.linspace(0, 2 * np.pi, 400, endpoint=False)))[:, None] + [[30, 0]]
    crossed = flower.copy()
    crossed[[100, 300]] = crossed[[300, 100]]
    for limit in (2000, 10):
        monkeypatch.setattr("segkit.dataset_tools.check.polygons.MAX_CORNERS", limit)
        assert problems([flower, crossed]) == ["", "self_intersecting"]


def test_sides_that_turn_one_way_may_go_around_twice():
    star = circle(5, rounds=2) * 10 + 20
    assert problems([star, circle(5) + 7, star[::-1], circle(5)[::-1]]) == [
        "self_intersecting",
        "",
        "self_intersecting",
        "",
    ]


@pytest.mark.parametrize("height", [1e-12, 1e-3])
def test_a_line_is_no_star(height):
    """A flat polygon whose sides all turn the same way has no area, wherever it lies."""
    flat = circle(16) * [[1000, 1000 * height]] + [[5000, -300]]
    expected = "degenerate_polygon" if height < 1e-9 else ""
    assert problems([circle(7), flat, np.repeat(flat, 2, axis=0)]) == ["", expected, expected]
