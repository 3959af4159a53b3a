"""Area, centre, axes, perimeter and solidity of masks, as by scikit-image's ``regionprops``.

Sums of coordinates are whole numbers and exact, so that moments do not depend on where an object lies. All masks are measured
together (:mod:`segkit.structures.mask_sheets`): regionprops takes about a millisecond an object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segkit.structures.convex_areas import convex_areas
from segkit.structures.mask_sheets import Sheet, sheets
from segkit.structures.masks import InstanceMasks

# The kind of a border pixel by 1 + 2 * (border pixels beside it) + 10 * (those at its corners), and the length of each kind.
_KINDS = np.zeros(50, np.int64)
_KINDS[[5, 7, 15, 17, 25, 27]], _KINDS[[21, 33]], _KINDS[[13, 23]] = 1, 2, 3
_LENGTHS = np.array([0.0, 1.0, math.sqrt(2), (1 + math.sqrt(2)) / 2])
ROWS_AT_ONCE = 1 << 17  # rows of masks whose hulls are found at a time


@dataclass(frozen=True)
class Ellipses:
    """The ellipses with the second moments of N masks.

    Attributes:
        major: float64 [N], length of the major axis.
        minor: float64 [N], length of the minor axis.
        orientation: float64 [N], angle of the major axis from the vertical in -pi/2..pi/2, counter-clockwise.
        eccentricity: float64 [N], 0 for a circle, near 1 for a line.
    """

    major: np.ndarray
    minor: np.ndarray
    orientation: np.ndarray
    eccentricity: np.ndarray


@dataclass(frozen=True)
class RegionShapes:
    """Shapes of N masks in pixels; everything but the area of an empty mask is NaN.

    Attributes:
        areas: int64 [N], number of set pixels.
        centroids: float64 [N, 2]: mean x and y; the centre of the image's first pixel is (0, 0).
        variances: float64 [N, 3]: of x, of y, and the covariance.
        determinants: float64 [N], of the matrix of variances; 0 for a mask on a line.
        perimeters: float64 [N], by the weights of the border pixels (Benkrid and Crookes).
        convex_areas: float64 [N], number of pixels in the convex hull.
    """

    areas: np.ndarray
    centroids: np.ndarray
    variances: np.ndarray
    determinants: np.ndarray
    perimeters: np.ndarray
    convex_areas: np.ndarray

    @property
    def circularities(self) -> np.ndarray:
        """4 pi A / P²: float64 [N], NaN if the perimeter P is 0. It exceeds 1 for some small masks."""
        squares = np.where(self.perimeters > 0, self.perimeters, np.nan) ** 2
        return 4 * math.pi * self.areas / squares

    @property
    def solidities(self) -> np.ndarray:
        """Share of the convex hull that the mask fills: float64 [N]."""
        return self.areas / self.convex_areas

    def ellipses(self, width: float = 1.0, height: float = 1.0) -> Ellipses:
        """The ellipses with the masks' second moments.

        Args:
            width: of a pixel.
            height: of a pixel.
        """
        xx, yy = self.variances[:, 0] * width**2, self.variances[:, 1] * height**2
        xy = self.variances[:, 2] * width * height
        first = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
        second = np.divide(self.determinants * (width * height) ** 2, first, out=np.zeros_like(first), where=first > 0)
        second = np.where(np.isnan(first), np.nan, second)
        ratio = np.divide(second, first, out=np.ones_like(first), where=first > 0)
        angles = np.where(xx == yy, np.where(xy > 0, 0.25, -0.25) * math.pi, 0.5 * np.arctan2(2 * xy, yy - xx))
        angles[np.isnan(first)] = ratio[np.isnan(first)] = np.nan
        # Two equal eigenvalues may differ by a rounding error.
        eccentricities = np.sqrt(np.maximum(1 - ratio, 0))
        return Ellipses(4 * np.sqrt(first), 4 * np.sqrt(np.minimum(first, second)), angles, eccentricities)


def region_shapes(masks: InstanceMasks) -> RegionShapes:
    """Measures masks on the CPU."""
    count = len(masks)
    sums = np.zeros((count, 6), np.int64)  # 1, x, x², y, y², xy, from the corner of the crop
    lengths, hulls = np.zeros(count), np.zeros(count, np.int64)
    profiles: list[np.ndarray] = []
    last = -1
    for sheet in sheets(masks):
        per_row = _row_sums(sheet)
        sums[sheet.objects] += _per_object(sheet, per_row)
        lengths[sheet.objects] += _perimeters(sheet)
        # A hull needs all rows of its object, which several sheets may have, one after the other.
        if sum(part.shape[1] for part in profiles) > ROWS_AT_ONCE and sheet.objects[0] != last:
            hulls += convex_areas(np.concatenate(profiles, 1), count)
            profiles = []
        profiles.append(_profiles(sheet, per_row[:, 0]))
        last = sheet.objects[-1]
    if profiles:
        hulls += convex_areas(np.concatenate(profiles, 1), count)
    return _assembled(sums, masks.crop_boxes.numpy()[:, :2], lengths, hulls)


def _row_sums(sheet: Sheet) -> np.ndarray:
    """Number of pixels, sum of x and sum of x² in each row: int64 [R, 3]; 0 in rows that do not count."""
    x = np.arange(sheet.inner.shape[1], dtype=np.float64)
    # Products of whole numbers, whose sums in a row stay below 2**53.
    found = sheet.inner.astype(np.float64) @ np.stack([np.ones_like(x), x, x * x], 1)
    return np.where(sheet.counted[:, None], found, 0).astype(np.int64)


def _per_object(sheet: Sheet, per_row: np.ndarray) -> np.ndarray:
    y = sheet.rows
    n, x, xx = per_row.T
    found = np.zeros((len(sheet.objects), 6), np.int64)
    np.add.at(found, sheet.owners, np.stack([n, x, xx, n * y, n * y * y, x * y], 1))
    return found


def _perimeters(sheet: Sheet) -> np.ndarray:
    """Length of the border of each object in the sheet's counted rows: float64 [K]."""
    pixels, inner = sheet.pixels, sheet.inner
    border = np.zeros_like(pixels)
    eroded = inner & pixels[:-2, 1:-1] & pixels[2:, 1:-1] & pixels[1:-1, :-2] & pixels[1:-1, 2:]
    border[1:-1, 1:-1] = inner ^ eroded
    flat, stride = border.reshape(-1), border.shape[1]
    at = np.flatnonzero(flat.view(np.bool_))
    at = at[sheet.counted[at // stride - 1]]
    beside = flat[at - 1] + flat[at + 1] + flat[at - stride] + flat[at + stride]
    corners = flat[at - stride - 1] + flat[at - stride + 1] + flat[at + stride - 1] + flat[at + stride + 1]
    kinds = _KINDS[1 + 2 * beside + 10 * corners]
    owners = sheet.owners[at // stride - 1]
    counts = np.bincount(owners * 4 + kinds, minlength=4 * len(sheet.objects))
    return counts.reshape(-1, 4) @ _LENGTHS


def _profiles(sheet: Sheet, counts: np.ndarray) -> np.ndarray:
    """Object, row, first and last column of the rows with pixels: int64 [4, ...]."""
    used = np.flatnonzero(counts)
    rows = sheet.inner[used].view(np.bool_)
    lefts, rights = rows.argmax(1), rows.shape[1] - 1 - rows[:, ::-1].argmax(1)
    return np.stack([sheet.objects[sheet.owners[used]], sheet.rows[used], lefts, rights])


def _assembled(sums: np.ndarray, corners: np.ndarray, lengths: np.ndarray, hulls: np.ndarray) -> RegionShapes:
    areas = sums[:, 0]
    empty = areas == 0
    n, x, xx, y, yy, xy = (column.astype(object) for column in np.where(empty[:, None], [1, 0, 0, 0, 0, 0], sums).T)
    # Python's whole numbers: in 64 bits the squares of large objects overflow.
    var_x, var_y, cov = n * xx - x * x, n * yy - y * y, n * xy - x * y
    squared = n * n
    variances = np.stack([(v / squared).astype(np.float64) for v in (var_x, var_y, cov)], 1)
    determinants = ((var_x * var_y - cov * cov) / (squared * squared)).astype(np.float64)
    centroids = np.stack([(x / n).astype(np.float64), (y / n).astype(np.float64)], 1) + corners
    for values in (centroids, variances, determinants, lengths):
        values[empty] = np.nan
    return RegionShapes(areas, centroids, variances, determinants, lengths, np.where(empty, np.nan, hulls))
