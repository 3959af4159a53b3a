"""Sums and extremes of each object's samples, read window by window from large images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from segkit.inference.predicted_image import PredictedImage
from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays
from segkit.utils.images.image_source import Window
from segkit.utils.images.lazy_image import LazyImage

WINDOW = 2048  # side of the windows in which a large image is read
SAMPLES_AT_ONCE = 1 << 22  # pixels of objects that are gathered at a time


class Intensities(NamedTuple):
    """Stored samples of N objects in C channels.

    Attributes:
        sums: [N, C], int64 for integers and float64 for floats and 64-bit integers.
        lows: [N, C] in the image's type; of an empty mask the greatest value of the type.
        highs: [N, C]; of an empty mask the least value of the type.
    """

    sums: np.ndarray
    lows: np.ndarray
    highs: np.ndarray


def measure_intensities(image: PredictedImage, masks: InstanceMasks) -> Intensities:
    """Measures the stored samples under each mask.

    Of a large image only the windows with objects are read, each once.

    Raises:
        SegkitError: the image cannot be read, or has no stored samples.
    """
    found: Intensities | None = None
    crops, boxes = arrays(masks.bits, masks.crop_boxes), masks.crop_boxes.numpy()
    for window, members in _windows(image, boxes):
        samples = _as_integers(image.samples(window))
        if found is None:
            found = _nothing(len(masks), samples)
        for part in _parts(members, boxes, window):
            _add(found, samples, crops, boxes, window, part)
    if found is None:  # no object: one pixel says how many channels there are
        found = _nothing(len(masks), _as_integers(image.samples((0, 0, 1, 1))))
    return found


def _as_integers(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.uint8) if samples.dtype == np.bool_ else samples


def _nothing(count: int, samples: np.ndarray) -> Intensities:
    shape = (count, samples.shape[2])
    whole = samples.dtype.kind in "iu" and samples.dtype.itemsize < 8
    is_float = samples.dtype.kind == "f"
    low, high = (np.inf, -np.inf) if is_float else (np.iinfo(samples.dtype).max, np.iinfo(samples.dtype).min)
    return Intensities(
        np.zeros(shape, np.int64 if whole else np.float64),
        np.full(shape, low, samples.dtype),
        np.full(shape, high, samples.dtype),
    )


def _windows(image: PredictedImage, boxes: np.ndarray) -> Iterator[tuple[Window, np.ndarray]]:
    """Yields the windows with objects, and the indices of the objects whose box meets each."""
    height, width = image.size
    used = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    if not isinstance(image.image, LazyImage):
        if len(used):
            yield (0, 0, width, height), used
        return
    for top in range(0, height, WINDOW):
        bottom = min(top + WINDOW, height)
        in_rows = used[(boxes[used, 1] < bottom) & (boxes[used, 3] > top)]
        for left in range(0, width if len(in_rows) else 0, WINDOW):
            right = min(left + WINDOW, width)
            inside = in_rows[(boxes[in_rows, 0] < right) & (boxes[in_rows, 2] > left)]
            if len(inside):
                yield (left, top, right, bottom), inside


def _parts(members: np.ndarray, boxes: np.ndarray, window: Window) -> Iterator[np.ndarray]:
    """Divides objects so that the boxes of each part have about ``SAMPLES_AT_ONCE`` pixels in the window."""
    sides = np.minimum(boxes[members, 2:], window[2:]) - np.maximum(boxes[members, :2], window[:2])
    ends = np.cumsum(sides.prod(1)) // SAMPLES_AT_ONCE
    yield from np.split(members, np.flatnonzero(np.diff(ends)) + 1)


def _add(
    found: Intensities,
    samples: np.ndarray,
    crops: list[np.ndarray],
    boxes: np.ndarray,
    window: Window,
    members: np.ndarray,
) -> None:
    """Adds the pixels that some objects have in a window."""
    left, top, right, bottom = window
    gathered: list[np.ndarray] = []
    for i, (x0, y0, x1, y1) in zip(members.tolist(), boxes[members].tolist(), strict=True):
        xa, ya, xb, yb = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
        crop = crops[i][ya - y0 : yb - y0, xa - x0 : xb - x0].view(np.bool_)
        gathered.append(samples[ya - top : yb - top, xa - left : xb - left][crop])
    counts = np.array([len(one) for one in gathered])
    members = members[counts > 0]  # the box of an object may meet a window in which it has no pixel
    if not len(members):
        return
    values = np.ascontiguousarray(np.concatenate(gathered).T)
    starts = (np.cumsum(counts) - counts)[counts > 0]
    found.sums[members] += np.add.reduceat(values, starts, axis=1, dtype=found.sums.dtype).T
    found.lows[members] = np.minimum(found.lows[members], np.minimum.reduceat(values, starts, axis=1).T)
    found.highs[members] = np.maximum(found.highs[members], np.maximum.reduceat(values, starts, axis=1).T)
