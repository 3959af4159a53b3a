"""AreaTable: the area of a region inside boxes, compared with sums over pixels in exact fractions."""

from fractions import Fraction

import pytest
import torch

from segkit.structures import area_table
from segkit.structures.area_table import AreaTable
from segkit.structures.masks import InstanceMasks


def overlaps(low, high, side):
    """How much of each pixel an interval covers."""
    low, high = Fraction(low), Fraction(high)
    return [max(Fraction(0), min(high, i + 1) - max(low, i)) for i in range(side)]


def exact_area(region, box):
    x0, y0, x1, y1 = box
    rows, columns = overlaps(y0, y1, region.shape[0]), overlaps(x0, x1, region.shape[1])
    return sum(
        r * c for r, row in zip(rows, region.tolist(), strict=True) for c, m in zip(columns, row, strict=True) if m
    )


def random_boxes(generator, count=60, side=40.0):
    """Boxes in and around the image, some on quarters of a pixel."""
    corners = torch.rand(count, 2, 2, generator=generator) * side * 1.6 - 0.3 * side
    corners[::2] = (corners[::2] * 4).round() / 4
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


@pytest.mark.parametrize("seed", range(3))
def test_areas_are_exact(seed):
    generator = torch.Generator().manual_seed(seed)
    region = torch.rand(31 + seed, 43, generator=generator) < 0.4
    boxes = random_boxes(generator)
    areas = AreaTable(region).areas(boxes)
    expected = torch.tensor([float(exact_area(region, box)) for box in boxes.tolist()])
    torch.testing.assert_close(areas, expected, rtol=2e-6, atol=1e-5)
    assert torch.equal(areas[::2], expected[::2])  # quarters are not rounded


def test_areas_stay_exact_in_a_large_image():
    """The sums are beyond fp32's integers; a small box's area is not rounded."""
    region = torch.ones(5000, 5000, dtype=torch.bool)
    region[4000, 4000] = False
    boxes = torch.tensor([[3999.5, 3999.5, 4001.25, 4002.0], [3990, 3990, 4000, 4004], [4990, 4990, 6000, 6000]])
    assert AreaTable(region).areas(boxes).tolist() == [1.75 * 2.5 - 1, 140, 100]


def test_union_and_edge_cases(monkeypatch):
    dense = torch.zeros(3, 12, 9, dtype=torch.bool)
    dense[0, 2:7, 1:5], dense[1, 5:9, 3:9] = True, True  # the third mask is empty
    table = AreaTable.of_union(InstanceMasks.from_dense(dense))
    boxes = random_boxes(torch.Generator().manual_seed(7), side=12.0)
    assert torch.equal(table.areas(boxes), AreaTable(dense.any(0)).areas(boxes))
    monkeypatch.setitem(area_table.MAX_BOXES, "cpu", 7)
    assert torch.equal(table.areas(boxes), AreaTable(dense.any(0)).areas(boxes))
    assert table.areas(torch.zeros(0, 4)).shape == (0,)
    odd = torch.tensor([[float("nan"), 0, 5, 5], [5, 5, 5, 9], [8, 8, 2, 2], [0, 0, float("inf"), float("inf")]])
    areas = table.areas(odd)
    assert torch.isfinite(areas).all() and areas[1] == 0 and areas[3] == int(dense.any(0).sum())
