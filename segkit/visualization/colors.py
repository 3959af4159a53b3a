"""Colours of objects: different for neighbours, and the same for the same input."""

from __future__ import annotations

import colorsys

import numpy as np

GOLDEN_ANGLE = 0.3819660112501051  # of a full turn: each further hue falls into the largest gap
HUES = 12  # candidates for an object; more would look alike
DARKEST = 0.5  # lowest brightness of a hue
CROWD_COLOR = (150, 150, 150)
# Orange, blue, green, ..., distinct to most colour-blind people too (Okabe and Ito), lightened for dark images.
CLASS_COLORS = (
    (255, 140, 0),
    (70, 170, 255),
    (60, 220, 120),
    (255, 90, 200),
    (250, 230, 60),
    (0, 225, 225),
    (170, 110, 255),
)


def class_colors(labels: np.ndarray) -> np.ndarray:
    """Returns a colour for each label [N]: uint8 [N, 3]."""
    colors = [
        CLASS_COLORS[k] if k < len(CLASS_COLORS) else _rgb((k * GOLDEN_ANGLE) % 1.0, 0.75) for k in labels.astype(int)
    ]
    return np.array(colors, dtype=np.uint8).reshape(-1, 3)


def instance_colors(boxes: np.ndarray) -> np.ndarray:
    """Returns colours whose hues differ between touching objects.

    They are those of :func:`instance_hues`.

    Args:
        boxes: [N, 4] XYXY.
    Returns:
        uint8 [N, 3].
    """
    return hue_colors()[instance_hues(boxes)]


def hue_colors() -> np.ndarray:
    """Returns the colours of :func:`instance_hues`: uint8 [12, 3]."""
    return np.array([_rgb(hue) for hue in _hues()], dtype=np.uint8)


def instance_hues(boxes: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Returns hues that differ between touching objects, as indices of :func:`hue_colors`.

    In their order, each object gets the golden-angle hue that is farthest from the hues of the earlier objects whose boxes
    touch its own; of equals, the next in the golden-angle sequence.

    Args:
        boxes: [N, 4] XYXY.
        known: int64 [N], hues that are decided before all others; -1 for an undecided one. None: all are undecided.
    Returns:
        int64 [N].
    """
    sequence = _hues()
    chosen = np.full(len(boxes), -1) if known is None else known.copy()
    margin = 2.0
    low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
    for i in np.flatnonzero(chosen < 0).tolist():
        touching = (chosen >= 0) & ((low <= high[i]) & (high >= low[i])).all(axis=1)
        order = np.roll(np.arange(HUES), -(i % HUES))
        if not touching.any():
            chosen[i] = order[0]
            continue
        apart = np.abs(sequence[order][:, None] - sequence[np.unique(chosen[touching])][None])
        nearest = np.minimum(apart, 1 - apart).min(axis=1)
        chosen[i] = order[int(np.argmax(nearest > nearest.max() - 1e-9))]
    return chosen


def _hues() -> np.ndarray:
    return (np.arange(HUES) * GOLDEN_ANGLE) % 1.0


def _rgb(hue: float, saturation: float = 0.85) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0)
    light = 0.3 * red + 0.59 * green + 0.11 * blue
    white = max(0.0, (DARKEST - light) / (1 - light))  # pure blue is hard to see on black and on stained tissue
    return tuple(round(255 * (c + white * (1 - c))) for c in (red, green, blue))  # type: ignore[return-value]
