"""Colours of objects: different for neighbours, and the same for the same input."""

from __future__ import annotations

import colorsys
import heapq
from typing import TYPE_CHECKING

import numpy as np

from segkit.visualization.outlines import crops

if TYPE_CHECKING:
    from segkit.structures.masks import InstanceMasks

GOLDEN_ANGLE = 0.3819660112501051  # of a full turn: each further hue falls into the largest gap
HUES = 12  # candidates for an object; more would look alike
BOX_MARGIN = 2.0  # pixels around a box within which others touch it
TIE = 1e-9  # of a turn, within which two distances are equal
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


def instance_colors(boxes: np.ndarray, neighbors: np.ndarray | None = None) -> np.ndarray:
    """Returns colours whose hues differ between neighbours.

    One after the other, each object gets the golden-angle hue that is farthest from the hues of its earlier neighbours; of
    equals, the next in the golden-angle sequence. If its neighbours have all of these hues, it gets the middle of the largest
    gap. With given pairs the objects follow each other smallest last (Matula and Beck 1983), so that each object has few
    earlier neighbours, at most five in the plane.

    Args:
        boxes: [N, 4] XYXY.
        neighbors: int64 [P, 2], pairs of objects; None: those whose boxes touch.
    Returns:
        uint8 [N, 3].
    """
    count = len(boxes)
    order = list(range(count))
    earlier: list[list[int]] = [[] for _ in range(count)]
    if neighbors is None:
        low, high = boxes[:, :2] - BOX_MARGIN, boxes[:, 2:] + BOX_MARGIN
        for i in range(count):
            earlier[i] = np.flatnonzero(((low[:i] <= high[i]) & (high[:i] >= low[i])).all(axis=1)).tolist()
    else:
        order = smallest_last(count, neighbors)
        rank = np.argsort(order)
        for one, other in neighbors.tolist():
            first, second = (one, other) if rank[one] < rank[other] else (other, one)
            earlier[second].append(first)
    sequence = _hues()
    hues = np.zeros(count)
    for step, i in enumerate(order):
        candidates = np.roll(sequence, -(step % HUES))
        if not earlier[i]:
            hues[i] = candidates[0]
            continue
        known = np.unique(hues[earlier[i]])
        best, distance = _farthest(candidates, known)
        hues[i] = candidates[best]
        if distance < TIE:
            gaps = np.diff(known, append=known[0] + 1)
            hues[i] = (known[int(gaps.argmax())] + gaps.max() / 2) % 1.0
    return np.array([_rgb(hue) for hue in hues], dtype=np.uint8).reshape(-1, 3)


def smallest_last(count: int, pairs: np.ndarray) -> list[int]:
    """Orders the nodes of a graph so that each has as few earlier neighbours as possible.

    From the end on, the next node is the one with the fewest neighbours among those that are left.

    Args:
        count: number of nodes.
        pairs: int64 [P, 2], its edges.
    """
    neighbors: list[set[int]] = [set() for _ in range(count)]
    for one, other in pairs.tolist():
        neighbors[one].add(other)
        neighbors[other].add(one)
    heap = [(len(found), -i) for i, found in enumerate(neighbors)]
    heapq.heapify(heap)
    order: list[int] = []
    placed = [False] * count
    while heap:
        degree, negative = heapq.heappop(heap)
        i = -negative
        if placed[i] or degree != len(neighbors[i]):
            continue
        placed[i] = True
        order.append(i)
        for other in neighbors[i]:
            neighbors[other].discard(i)
            heapq.heappush(heap, (len(neighbors[other]), -other))
    return order[::-1]


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
    low, high = boxes[:, :2] - BOX_MARGIN, boxes[:, 2:] + BOX_MARGIN
    for i in np.flatnonzero(chosen < 0).tolist():
        touching = (chosen >= 0) & ((low <= high[i]) & (high >= low[i])).all(axis=1)
        order = np.roll(np.arange(HUES), -(i % HUES))
        if not touching.any():
            chosen[i] = order[0]
            continue
        chosen[i] = order[_farthest(sequence[order], sequence[np.unique(chosen[touching])])[0]]
    return chosen


def _hues() -> np.ndarray:
    """The golden-angle sequence: float64 [12], in turns."""
    return (np.arange(HUES) * GOLDEN_ANGLE) % 1.0


def _farthest(candidates: np.ndarray, known: np.ndarray) -> tuple[int, float]:
    """The position of the candidate that is farthest from all known hues, and how far it is.

    Args:
        candidates: [N], in turns; of equally far ones the first is taken.
        known: [M], M > 0.
    """
    apart = np.abs(candidates[:, None] - known[None])
    nearest = np.minimum(apart, 1 - apart).min(axis=1)
    return int(np.argmax(nearest > nearest.max() - TIE)), float(nearest.max())


def touching_masks(masks: InstanceMasks) -> np.ndarray:
    """Returns the pairs of objects whose masks overlap or come within two pixels of each other.

    Pixels that several objects share count for the last of them, after the pair has been noted.

    Args:
        masks: N masks on one image.
    Returns:
        int64 [P, 2], each pair once, the smaller index first.
    """
    height, width = masks.image_size
    owner = np.zeros((height, width), np.int32)  # index + 1
    pairs = [np.zeros((0, 2), np.int64)]
    for i, (x0, y0, crop) in enumerate(crops(masks), start=1):
        part = owner[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]]
        below = np.unique(part[crop])
        below = below[below > 0]
        pairs.append(np.stack([below, np.full(len(below), i)], 1))
        part[crop] = i
    for dy, dx in ((0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (1, -1)):
        one = owner[: height - dy, max(0, -dx) : width - max(0, dx)]
        other = owner[dy:, max(0, dx) : width - max(0, -dx)]
        differ = (one != other) & (one > 0) & (other > 0)
        found = np.sort(np.stack([one[differ], other[differ]], 1), axis=1)
        pairs.append(np.unique(found, axis=0).astype(np.int64))
    return np.unique(np.concatenate(pairs), axis=0) - 1


def _rgb(hue: float, saturation: float = 0.85) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0)
    light = 0.3 * red + 0.59 * green + 0.11 * blue
    white = max(0.0, (DARKEST - light) / (1 - light))  # pure blue is hard to see on black and on stained tissue
    return tuple(round(255 * (c + white * (1 - c))) for c in (red, green, blue))  # type: ignore[return-value]
