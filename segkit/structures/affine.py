"""Affine maps of images, masks and boxes on continuous coordinates.

Pixel i covers [i, i + 1), and its centre is i + 0.5. A map is fp64 [2, 3]: (x, y) becomes
``matrix[:, :2] @ (x, y) + matrix[:, 2]``. Image, masks and boxes use the same matrix. (torchvision's ``affine`` and
``rotate`` take angles and centres instead, rotate in opposite directions, and shift the boxes on an expanded image
differently from its pixels.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def affine_matrix(
    old: tuple[int, int],
    new: tuple[int, int],
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    shear: tuple[float, float] = (0.0, 0.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """The map from an image to another, centre to centre: shear, scale, rotate, shift.

    Args:
        old: (H, W) of the image before.
        new: (H, W) of the image after.
        angle: degrees, counter-clockwise as ``torch.rot90``.
        scale: factor, above 0.
        shear: degrees in -90..90, of x along y, then of y along x; areas do not change.
        shift: pixels in x and y, applied last.
    """
    cos, sin = _cos_sin(angle)
    lean_x, lean_y = (math.tan(math.radians(degrees)) for degrees in shear)
    turn = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
    along_x = torch.tensor([[1, lean_x], [0, 1]], dtype=torch.float64)
    along_y = torch.tensor([[1, 0], [lean_y, 1]], dtype=torch.float64)
    linear = scale * (turn @ along_y @ along_x)
    center, target = (torch.tensor([w / 2, h / 2], dtype=torch.float64) for h, w in (old, new))
    offset = target + torch.tensor(shift, dtype=torch.float64) - linear @ center
    return torch.cat([linear, offset[:, None]], 1)


def turned_size(size: tuple[int, int], angle: float) -> tuple[int, int]:
    """(H, W) of the smallest image that contains an image of ``size`` rotated by ``angle``."""
    cos, sin = (abs(value) for value in _cos_sin(angle))
    height, width = size
    # Rounding errors must not add a row or column.
    return math.ceil(height * cos + width * sin - 1e-6), math.ceil(width * cos + height * sin - 1e-6)


def inverse(matrix: Tensor) -> Tensor:
    """The inverse map."""
    linear = torch.linalg.inv(matrix[:, :2])
    return torch.cat([linear, -linear @ matrix[:, 2:]], 1)


def move_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Points (x, y), fp64 [..., 2], after the map."""
    return points.double() @ matrix[:, :2].T + matrix[:, 2]


def move_hulls(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Smallest XYXY boxes, fp64 [N, 4], around the four mapped corners of each box."""
    corners = move_points(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), matrix)
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def sampling_grid(
    back: Tensor, corners: Tensor, size: tuple[int, int], old: Tensor, old_size: tuple[int, int]
) -> Tensor:
    """Grid fp32 [n, H, W, 2] of new windows for ``grid_sample`` without ``align_corners``.

    Args:
        back: the map from new to old.
        corners: [n, 2], x and y of the new windows' first pixels.
        size: (H, W) of each new window.
        old: [n, 2], x and y of the old windows' first pixels.
        old_size: (H, W) of each old window.
    """
    sides = torch.tensor([old_size[1], old_size[0]], dtype=torch.float64)
    # Coordinates are relative to the windows, so that they are small and fp32 is exact enough.
    start = ((move_points(corners, back) - old) * 2 / sides - 1).float()  # [n, 2]
    across, down = (back[:, :2].T * 2 / sides).float()
    rows = start[:, None] + (torch.arange(size[0]) + 0.5)[:, None] * down  # [n, H, 2]
    return rows[:, :, None] + (torch.arange(size[1]) + 0.5)[:, None] * across


def _cos_sin(angle: float) -> tuple[float, float]:
    """Cosine and sine, exact for multiples of 90 degrees, which must not mix pixels."""
    if angle % 90 == 0:
        return [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][int(angle // 90) % 4]
    return math.cos(math.radians(angle)), math.sin(math.radians(angle))
