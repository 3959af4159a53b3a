"""Limits of the samples of an image, and their scale to 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from segkit.utils.errors import SegkitError
from segkit.utils.images.channels import ChannelImage
from segkit.utils.images.stored_image import PERCENTILES


class Limits(NamedTuple):
    """The samples that become 0 and 1: float64 [C] each."""

    low: np.ndarray
    high: np.ndarray


class IntensityRule(Protocol):
    """Maps the samples of an image to intensities; :class:`segkit.data.Intensity` is its base."""

    def limits(self, image: ChannelImage, name: str) -> Limits | None:
        """The limits of each channel of an image.

        Args:
            image: the whole image, or a sample of its pixels.
            name: the file, for messages.
        Returns:
            None: the image has at most 8 bits and is spread over the whole of uint8.
        Raises:
            SegkitError: the image does not suit the rule.
        """


def percentile_limits(
    image: ChannelImage, name: str, percents: Sequence[float] = PERCENTILES, *, joint: bool | None = None
) -> Limits:
    """The percentiles of an image's samples, or its range if these are equal.

    Args:
        image: of any integer or float type.
        name: the file, for messages.
        percents: two, from 0 to 100.
        joint: one pair of limits for all channels; None: ``image.joint``.
    Raises:
        SegkitError: the image holds NaN or infinite samples.
    """
    pixels = image.pixels
    check_finite(pixels, name)
    together = image.joint if joint is None else joint
    groups = [pixels] if together else [pixels[:, :, k] for k in range(pixels.shape[2])]
    found = []
    for samples in groups:
        low, high = percentiles(samples, percents)
        if high <= low:  # fewer samples than the percentiles ignore differ from the rest: use the full range
            low, high = float(samples.min()), float(samples.max())
        found.append((low, high))
    low, high = np.array(found * (pixels.shape[2] if together else 1), np.float64).T
    return Limits(low, high)


def percentiles(samples: np.ndarray, percents: Sequence[float]) -> list[float]:
    """Percentiles with linear interpolation: ``numpy.percentile`` of float64 samples.

    Percentiles near 0 and 100 need the smallest or largest samples only. They are found in a tenth of the time of a partition
    of floats.
    """
    if samples.size == 0:
        return [0.0 for _ in percents]
    flat = samples.ravel(order="K")
    last = flat.size - 1
    result = []
    for percent in percents:
        position = percent / 100 * last
        below = int(position)
        a, b = _tail_pair(flat, below) or _pair(flat, below)
        share = position - below
        peak = max(abs(a), abs(b))
        scale = peak if peak > 1e150 else 1.0  # so that the difference does not overflow
        a, b = a / scale, b / scale
        result.append((a + (b - a) * share if share < 0.5 else b - (b - a) * (1 - share)) * scale)
    return result


def _pair(flat: np.ndarray, rank: int) -> tuple[float, float]:
    """The samples of ``rank`` (from 0) and of the next one, in ascending order."""
    ranks = [rank, min(rank + 1, flat.size - 1)]
    if flat.dtype.kind not in "iu" or flat.dtype.itemsize > 2:
        ordered = np.partition(flat, ranks)
        return float(ordered[ranks[0]]), float(ordered[ranks[1]])
    lowest = int(np.iinfo(flat.dtype).min)
    # torch counts int32, for which NumPy would make a copy of int64.
    counts = torch.bincount(torch.from_numpy(flat.astype(np.int32) - lowest))
    low, high = (np.searchsorted(counts.cumsum(0).numpy(), ranks, side="right") + lowest).tolist()
    return float(low), float(high)


def _tail_pair(flat: np.ndarray, rank: int) -> tuple[float, float] | None:
    """:func:`_pair`, from the samples below or above a bound; None if these are too many or too few."""
    size = flat.size
    is_low = rank < size // 2
    needed = rank + 2 if is_low else size - rank
    thinned = np.sort(flat[:: size >> 14 | 1])  # an odd step: no columns of an image alone
    index = int(needed / size * len(thinned) * 1.5) + 12
    if index >= len(thinned) // 8:
        return None
    inside = flat <= thinned[index] if is_low else flat >= thinned[-1 - index]
    count = int(np.count_nonzero(inside))
    if not needed <= count <= size // 8:
        return None
    tail, start = np.sort(flat[inside]), 0 if is_low else size - count
    return float(tail[rank - start]), float(tail[min(rank + 1, size - 1) - start])


def to_unit_range(pixels: np.ndarray, limits: Limits, name: str) -> torch.Tensor:
    """Scales samples to 0..1 between the limits, and clips the rest.

    From ``[H, W, C]`` to float32 ``[C, H, W]``. A channel whose limits are equal becomes 0.

    Raises:
        SegkitError: the samples are NaN or infinite.
    """
    check_finite(pixels, name)
    low, high = (np.asarray(v, np.float64) for v in limits)
    wide = pixels.dtype.itemsize >= 4
    planes = np.moveaxis(pixels, 2, 0)
    scaled = np.ascontiguousarray(planes.astype(np.float64 if wide else np.float32))
    peak = max(float(np.abs(low).max(initial=0)), float(np.abs(high).max(initial=0)))
    if wide and peak > 1e150:  # so that differences do not overflow
        scaled, low, high = scaled / peak, low / peak, high / peak
    span = high - low
    factor = np.divide(1.0, span, out=np.zeros_like(span), where=span > 0)
    unit = torch.from_numpy(scaled)
    start, scale = (torch.from_numpy(v).to(unit.dtype)[:, None, None] for v in (low, factor))
    return unit.sub_(start).mul_(scale).clamp_(0, 1).float()


def check_finite(pixels: np.ndarray, name: str) -> None:
    """Raises a SegkitError if samples are NaN or infinite."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise SegkitError(f"{name}: the image holds NaN or infinite samples")
