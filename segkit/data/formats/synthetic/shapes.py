"""Draws the four shapes of the synthetic data set by formulas.

At any rotation a shape fills at most about two thirds of its box. So a model that predicts boxes in place of masks scores
next to nothing at IoU 0.75: the data set shows whether masks are learnt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("triangle", "cross", "ring", "star")

CROSS_ARM = 0.38  # width of an arm, as a share of the cross's length
RING_HOLE = 0.5  # inner radius, as a share of the outer one
STAR_INNER = 0.5  # inner radius, as a share of the outer one; the star has five points


@dataclass(frozen=True)
class DrawnShape:
    """A shape on the pixel grid: ``mask`` bool ``[h, w]`` at column ``x`` and row ``y``."""

    mask: np.ndarray
    x: int
    y: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the image that the mask covers."""
        height, width = self.mask.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


def _outline() -> dict[str, np.ndarray]:
    """Points ``[P, 2]`` with the same bounding box as each unit shape, at any rotation."""
    a = CROSS_ARM
    turns = np.arange(10) * (math.pi / 5) + math.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, 1.0, STAR_INNER)
    third = np.arange(3) * (2 * math.pi / 3) + math.pi / 2
    circle = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    corners = [(a, 1), (-a, 1), (a, -1), (-a, -1), (1, a), (1, -a), (-1, a), (-1, -a)]
    return {
        "triangle": np.stack([np.cos(third), np.sin(third)], 1),
        "cross": np.array(corners, dtype=np.float64),
        "ring": np.stack([np.cos(circle), np.sin(circle)], 1),
        "star": np.stack([radii * np.cos(turns), radii * np.sin(turns)], 1),
    }


OUTLINES = _outline()


def draw_shape(
    name: str, size: float, angle: float, aspect: float, center: tuple[float, float], image_size: tuple[int, int]
) -> DrawnShape:
    """Draws one shape, shifted so that its box lies in the image.

    Args:
        name: one of ``SHAPES``.
        size: longer side of its box, in pixels.
        angle: rotation in radians.
        aspect: width by height before the rotation.
        center: x, y of the centre of its box.
        image_size: (H, W), both at least ``size``.
    """
    stretch, cos, sin = math.sqrt(aspect), math.cos(angle), math.sin(angle)
    to_image = np.array([[cos * stretch, -sin / stretch], [sin * stretch, cos / stretch]])
    points = OUTLINES[name] @ to_image.T
    low, high = points.min(0), points.max(0)
    scale = size / float((high - low).max())
    low, high = low * scale, high * scale
    x0 = min(max(center[0] - (high[0] - low[0]) / 2, 0.0), image_size[1] - (high[0] - low[0]))
    y0 = min(max(center[1] - (high[1] - low[1]) / 2, 0.0), image_size[0] - (high[1] - low[1]))
    left, top = int(x0), int(y0)
    right, bottom = math.ceil(x0 + high[0] - low[0]), math.ceil(y0 + high[1] - low[1])
    # Pixel centres in the coordinates of the unit shape.
    xs = (np.arange(left, min(right, image_size[1]), dtype=np.float32) + 0.5 - x0 + low[0]) / scale
    ys = (np.arange(top, min(bottom, image_size[0]), dtype=np.float32) + 0.5 - y0 + low[1]) / scale
    u = (xs * (cos / stretch))[None, :] + (ys * (sin / stretch))[:, None]
    v = (xs * (-sin * stretch))[None, :] + (ys * (cos * stretch))[:, None]
    return DrawnShape(inside(name, u, v), left, top)


def inside(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points (u, v) lie in the unit shape.

    Its circumscribed radius is 1; half the length of a cross is 1.
    """
    if name == "triangle":
        slope = math.sqrt(3.0)
        return (v > -0.5) & (v < 1 - slope * u) & (v < 1 + slope * u)
    if name == "cross":
        across, along = np.abs(u), np.abs(v)
        return (np.minimum(across, along) < CROSS_ARM) & (np.maximum(across, along) < 1)
    radius2 = u * u + v * v
    if name == "ring":
        return (radius2 < 1) & (radius2 > RING_HOLE**2)
    assert name == "star", name
    # By symmetry, fold the points into a tenth of the star. There its edge is one line, from a tip to the next dent.
    turn = np.abs((np.arctan2(u, v) + math.pi / 5) % (2 * math.pi / 5) - math.pi / 5)
    radius = np.sqrt(radius2)
    x, y = radius * np.cos(turn), radius * np.sin(turn)
    dent_x, dent_y = STAR_INNER * math.cos(math.pi / 5), STAR_INNER * math.sin(math.pi / 5)
    return (1 - x) * dent_y > y * (1 - dent_x)
