"""Outlines and ellipses by pixel centres, against hand-worked masks, a slow test of each pixel, and scikit-image."""

import numpy as np
import pytest

from segkit.structures.runs import fill_runs
from segkit.structures.scanlines import scan_ellipse, scan_outlines


def drawn(runs, size):
    mask = np.zeros(size, int)
    for row, start, end in zip(*runs, strict=True):
        mask[row, start:end] += 1
    assert mask.max(initial=0) <= 1  # runs do not overlap
    fill_runs(np.zeros(len(runs[0]), int), *runs, 1)
    return mask.astype(bool)


def outline(points, size=(8, 10)):
    return drawn(scan_outlines([np.array(p, float) for p in points], size), size)


def inside(points, x, y):
    """Even-odd rule for one point, an edge at a time."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x
    return crossings % 2 == 1


def test_rectangle_triangle_and_hole():
    assert np.argwhere(outline([[(2, 1), (5, 1), (5, 3), (2, 3)]])).tolist() == [
        [y, x] for y in (1, 2) for x in (2, 3, 4)
    ]
    # Centres of row 0, 1, 2 cross the slanted side at x = 0.5, 1.5, 2.5: exactly on centres, which are inside on the right.
    triangle = outline([[(0, 0), (4, 4), (0, 4)]], (4, 4))
    assert triangle.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    # The other half of the square: its left boundary runs through centres, which are outside. Nothing is in both.
    assert (outline([[(0, 0), (4, 0), (4, 4)]], (4, 4)) == ~triangle).all()
    ring = outline(
        [[(0, 0), (5, 0), (5, 5), (0, 5)], [(1, 1), (4, 1), (4, 4), (1, 4)], [(2, 2), (3, 2), (3, 3), (2, 3)]]
    )
    assert ring.sum() == 25 - 9 + 1 and ring[2, 2] and not ring[1, 2]


def test_horizontal_boundaries_through_centres():
    """A centre on the upper boundary is inside, one on the lower boundary outside."""
    mask = outline([[(1, 1.5), (4, 1.5), (4, 3.5), (1, 3.5)]])
    assert np.argwhere(mask.any(1)).ravel().tolist() == [1, 2]


def test_random_polygons_by_each_centre():
    rng = np.random.default_rng(3)
    for _ in range(60):
        points = rng.uniform(-4, 14, (rng.integers(3, 9), 2)).tolist()
        expected = [[inside(points, x + 0.5, y + 0.5) for x in range(10)] for y in range(8)]
        assert (outline([points]) == expected).all()


def test_equals_scikit_image_where_no_centre_is_on_the_outline():
    draw = pytest.importorskip("skimage.draw")
    rng = np.random.default_rng(5)
    for _ in range(40):
        points = rng.uniform(0, 30, (6, 2))
        expected = np.zeros((30, 30), bool)
        expected[draw.polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, (30, 30))] = True
        assert (outline([points], (30, 30)) == expected).all()


def test_ellipses():
    # A circle of diameter 4: centres at distance 0.5 and 1.5 from the middle; (1.5, 1.5) is 2.12 away, outside of 2.
    circle = drawn(scan_ellipse((2, 2), (2, 0), 1, (4, 4)), (4, 4))
    assert circle.astype(int).tolist() == [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
    # Half axes 5 and 5: the centre (8.5, 7.5) is exactly on the boundary (3-4-5), and inside.
    assert drawn(scan_ellipse((5.5, 3.5), (5, 0), 1, (10, 12)), (10, 12))[7, 8]
    rng = np.random.default_rng(1)
    for _ in range(60):
        cx, cy, ax, ay = rng.uniform(-3, 15, 2).tolist() + rng.uniform(-6, 6, 2).tolist()
        ratio = rng.uniform(0.1, 2)
        y, x = np.mgrid[:12, :14] + 0.5
        a = np.hypot(ax, ay)
        u, v = ((x - cx) * ax + (y - cy) * ay) / a, ((y - cy) * ax - (x - cx) * ay) / a
        expected = (u / a) ** 2 + (v / (a * ratio)) ** 2 <= 1
        assert (drawn(scan_ellipse((cx, cy), (ax, ay), ratio, (12, 14)), (12, 14)) == expected).all()
    assert not len(scan_ellipse((2, 2), (0, 0), 1, (4, 4))[0])


def test_outlines_that_cross_too_many_rows():
    zigzag = np.array([[0, 0], [1, 1e6]] * 20)
    assert scan_outlines([zigzag], (1_000_000, 2)) is None
    assert scan_outlines([], (3, 3))[0].size == 0
