"""Shapes of masks, compared with scikit-image's regionprops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import regionprops

from segkit.structures import InstanceMasks, mask_sheets
from segkit.structures import region_shapes as region_shapes_module
from segkit.structures.region_shapes import region_shapes


def random_masks(seed: int) -> np.ndarray:
    """Blobs with holes and several parts, lines, single pixels, whole images and empty masks."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 45, 2)
    dense = np.zeros((rng.integers(1, 8), height, width), np.bool_)
    for one in dense:
        h, w = rng.integers(1, height + 1), rng.integers(1, width + 1)
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        noise = ndimage.gaussian_filter(rng.random((h, w)), rng.choice([0, 0.7, 2]))
        one[y : y + h, x : x + w] = noise >= np.quantile(noise, rng.choice([0, 0.3, 0.6, 0.95]))
    dense[0] &= seed % 3 > 0
    return dense


@pytest.mark.parametrize("sheet", [40, 400, mask_sheets.SHEET_PIXELS])
@pytest.mark.parametrize("seed", range(12))
def test_shapes_are_those_of_regionprops(seed, sheet, monkeypatch):
    monkeypatch.setattr(mask_sheets, "SHEET_PIXELS", sheet)  # crops are divided, and laid on many sheets
    monkeypatch.setattr(region_shapes_module, "ROWS_AT_ONCE", 5)
    dense = random_masks(seed)
    shapes = region_shapes(InstanceMasks.from_dense(torch.from_numpy(dense)))
    square, wide = shapes.ellipses(), shapes.ellipses(0.3, 0.7)
    for i, mask in enumerate(dense):
        if not mask.any():
            assert shapes.areas[i] == 0
            assert np.isnan([shapes.perimeters[i], square.major[i], square.orientation[i], shapes.solidities[i]]).all()
            continue
        found = regionprops(mask.astype(np.uint8))[0]
        assert (found.area, found.area_convex) == (shapes.areas[i], shapes.convex_areas[i])
        np.testing.assert_allclose(shapes.centroids[i], found.centroid[::-1], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(shapes.perimeters[i], found.perimeter, rtol=1e-12)
        np.testing.assert_allclose(shapes.solidities[i], found.solidity, rtol=1e-12)
        check_ellipse(square, i, found)
        check_ellipse(wide, i, regionprops(mask.astype(np.uint8), spacing=(0.7, 0.3))[0])


def check_ellipse(ellipses, i, found):
    np.testing.assert_allclose(ellipses.major[i], found.axis_major_length, rtol=1e-9, atol=1e-9)
    # Of a mask on a line, regionprops returns the root of a rounding error; here it is 0.
    np.testing.assert_allclose(ellipses.minor[i], found.axis_minor_length, rtol=1e-9, atol=2e-6)
    np.testing.assert_allclose(ellipses.eccentricity[i], found.eccentricity, rtol=1e-7, atol=1e-6)
    if ellipses.major[i] - ellipses.minor[i] > 1e-3 * ellipses.major[i]:  # a circle has no direction
        difference = abs(ellipses.orientation[i] - found.orientation)
        assert min(difference, math.pi - difference) < 1e-9


def test_one_pixel_and_a_line():
    dense = torch.zeros(3, 9, 9, dtype=torch.bool)
    dense[0, 4, 4] = dense[1, 2, 1:8] = True
    dense[2] = torch.eye(9, dtype=torch.bool)
    shapes = region_shapes(InstanceMasks.from_dense(dense))
    ellipses = shapes.ellipses()
    assert ellipses.minor.tolist() == [0, 0, 0] and ellipses.eccentricity.tolist() == [0, 1, 1]
    assert abs(ellipses.orientation[1]) == math.pi / 2 and ellipses.orientation[2] == math.pi / 4
    assert np.isnan(shapes.circularities[0]) and shapes.solidities.tolist()[:2] == [1, 1]


def test_moments_are_exact_far_from_the_corner():
    """An object of two distant parts, whose squared sums exceed 64 bits."""
    size = 60_000
    crop = torch.zeros(2, size, dtype=torch.uint8)
    crop[:, :50] = crop[:, -50:] = 1
    masks = InstanceMasks(crop.reshape(-1), torch.tensor([[0, 7, size, 9]]), (20, size))
    shapes = region_shapes(masks)
    columns = np.tile(np.concatenate([np.arange(50), np.arange(size - 50, size)]), 2)
    variance = np.mean((columns - columns.mean()) ** 2)
    assert shapes.ellipses().major[0] == pytest.approx(4 * math.sqrt(variance), rel=1e-14)
    assert shapes.ellipses().minor[0] == pytest.approx(4 * 0.5, rel=1e-14)
    assert shapes.convex_areas[0] == 2 * size


def test_circularity_of_a_disk_is_near_one():
    y, x = np.mgrid[:201, :201] - 100
    shapes = region_shapes(InstanceMasks.from_dense(torch.from_numpy((x**2 + y**2 <= 90**2)[None])))
    assert shapes.circularities[0] == pytest.approx(1, abs=0.12)
