"""Intensity rules: how the samples of an image file become uint8 or float 0..1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from segkit.registry import INTENSITY_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.images import ChannelImage, Limits, percentile_limits, percentiles

PerChannel = bool | Literal["auto"]
MEASURED_PIXELS = 1 << 23  # of all images together, from which percentiles of a data set are taken


class Intensity(ABC):
    """Interface of an intensity rule.

    A rule returns limits, the numbers that become 0 and 1. They are applied to the whole image or to a window of it, in
    training, evaluation and prediction alike.

    Attributes:
        measured_on_data: whether :meth:`measure` replaces the rule at the start of a run.
        keeps_8_bits: whether ``limits`` returns None for every image of 8 bits; then large ones are not measured.
    """

    measured_on_data: ClassVar[bool] = False
    keeps_8_bits: bool = False

    @abstractmethod
    def limits(self, image: ChannelImage, name: str) -> Limits | None:
        """The numbers of an image that become 0 and 1, for each channel.

        Args:
            image: the chosen channels of the whole image, or of a sample of its pixels.
            name: the file, for messages.
        Returns:
            None: the image stays uint8; only for images of at most 8 bits.
        Raises:
            SegkitError: the image does not suit the rule.
        """

    def measure(self, images: Iterable[ChannelImage]) -> dict[str, Any]:
        """The spec of a rule that needs no more measuring, from a sample of the training images.

        Only called if ``measured_on_data``.
        """
        raise NotImplementedError(type(self).__name__)

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


@INTENSITY_REGISTRY.register(name="percentile")
class Percentile(Intensity):
    """Maps two percentiles of each image to 0 and 1, and clips the rest.

    An image whose percentiles are equal is scaled by its range; a constant one becomes 0.

    Args:
        low: percentile that becomes 0, from 0 to 100.
        high: percentile that becomes 1.
        per_channel: whether each channel has its own percentiles. ``auto``: if channels are chosen (``data.channels``); the
            colours of one picture share them, so that hues stay.
        stretch_8_bit: whether images of 8 bits are mapped too; they stay as they are otherwise.
    """

    def __init__(
        self, *, low: float = 0.1, high: float = 99.9, per_channel: PerChannel = "auto", stretch_8_bit: bool = False
    ) -> None:
        _check_percentiles(low, high)
        self.low = low
        self.high = high
        self.per_channel = per_channel
        self.stretch_8_bit = stretch_8_bit

    @property
    def keeps_8_bits(self) -> bool:  # type: ignore[override]
        return not self.stretch_8_bit

    def limits(self, image: ChannelImage, name: str) -> Limits | None:
        if image.is_8_bit and self.keeps_8_bits:
            return None
        joint = None if self.per_channel == "auto" else not self.per_channel
        return percentile_limits(image, name, (self.low, self.high), joint=joint)


@INTENSITY_REGISTRY.register(name="dtype_range")
class DtypeRange(Intensity):
    """Maps the range of the file's data type to 0..1.

    It is 0..65535 for 16 bits, -32768..32767 for signed ones. Floats are taken as they are and have to be in 0..1. Images
    of 8 bits stay as they are.

    Args:
        bits: how many bits of a sample are used, such as 12 for a camera of 12 bits whose files have 16; null: all. It
            applies to images of more than 8 bits.
    """

    keeps_8_bits = True

    def __init__(self, *, bits: int | None = None) -> None:
        if bits is not None and not 1 <= bits <= 64:
            raise ValueError(f"bits: expected 1 to 64, or null; got {bits}")
        self.bits = bits

    def limits(self, image: ChannelImage, name: str) -> Limits | None:
        if image.is_8_bit:
            return None
        pixels, bits = image.pixels, image.bits if self.bits is None else self.bits
        if pixels.dtype.kind == "f":
            lowest, highest = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 1.0)
            if lowest < 0 or highest > 1:
                raise SegkitError(
                    f"{name}: its floats are from {lowest:g} to {highest:g}, and data.intensity {{name: dtype_range}} takes "
                    "0..1; use {name: window, low: ..., high: ...} or {name: percentile}",
                    key="data.intensity",
                )
            return _repeated(0, 1, pixels.shape[2])
        if pixels.dtype.kind == "i":
            return _repeated(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, pixels.shape[2])
        highest_sample = 2**bits - 1
        if self.bits is not None and pixels.size and int(pixels.max()) > highest_sample:
            raise SegkitError(
                f"{name}: it has samples up to {int(pixels.max())}, more than {bits} bits (data.intensity.bits)",
                key="data.intensity",
            )
        return _repeated(0, highest_sample, pixels.shape[2])


@INTENSITY_REGISTRY.register(name="window")
class Window(Intensity):
    """Maps a fixed window of the file's numbers to 0..1, and clips the rest.

    Images of 8 bits are mapped too.

    Args:
        low: the number that becomes 0: one for all channels, or a list of one a channel.
        high: the number that becomes 1, likewise.
    """

    examples = ({"low": 0, "high": 4095}, {"low": [0.0, 10.0], "high": [1000.0, 500.0]})

    def __init__(self, *, low: float | Sequence[float], high: float | Sequence[float]) -> None:
        lows, highs = (np.atleast_1d(np.asarray(v, np.float64)) for v in (low, high))
        if lows.ndim != 1 or highs.ndim != 1 or (len(lows) != len(highs) and 1 not in (len(lows), len(highs))):
            raise ValueError(f"low and high: expected one number each, or one a channel; got {low} and {high}")
        if not (np.isfinite(lows).all() and np.isfinite(highs).all() and (lows < highs).all()):
            raise ValueError(f"expected low < high in each channel; got {low} and {high}")
        self.low = low
        self.high = high
        self._low, self._high = (np.array(v) for v in np.broadcast_arrays(lows, highs))

    def limits(self, image: ChannelImage, name: str) -> Limits | None:
        count = image.pixels.shape[2]
        if len(self._low) not in (1, count):
            raise SegkitError(
                f"{name}: data.intensity has a window for {len(self._low)} channels, and the image has {count}"
                + (" (grey)" if image.joint and count == 1 else ""),
                key="data.intensity",
            )
        return Limits(*(np.resize(v, count) for v in (self._low, self._high)))


@INTENSITY_REGISTRY.register(name="dataset_percentile")
class DatasetPercentile(Intensity):
    """Percentiles of the training data, measured at the start of a run.

    The saved configuration and the checkpoints have the result as a ``window``, so that evaluation and prediction use the same
    numbers. For images of one exposure, whose differences in brightness mean something.

    Args:
        low: percentile that becomes 0, from 0 to 100.
        high: percentile that becomes 1.
        per_channel: as in ``percentile``.
    """

    measured_on_data = True

    def __init__(self, *, low: float = 0.1, high: float = 99.9, per_channel: PerChannel = "auto") -> None:
        _check_percentiles(low, high)
        self.low = low
        self.high = high
        self.per_channel = per_channel

    def limits(self, image: ChannelImage, name: str) -> Limits | None:
        raise SegkitError(
            "data.intensity: dataset_percentile is measured on the training data at the start of a run; here there are none. "
            "Use the configuration that the run saved (config.yaml, or the one in its checkpoints)",
            key="data.intensity",
        )

    def measure(self, images: Iterable[ChannelImage]) -> dict[str, Any]:
        samples = list(images)
        if len({image.pixels.shape[2] for image in samples}) > 1:
            raise SegkitError(
                "data.intensity: the training images differ in their number of channels; choose some (data.channels)",
                key="data.intensity",
            )
        joint = samples[0].joint if self.per_channel == "auto" else not self.per_channel
        each = max(1, MEASURED_PIXELS // len(samples))
        pixels = np.concatenate([_thinned(image.pixels, each) for image in samples])
        groups = [pixels.reshape(-1)] if joint else list(pixels.T)
        limits = []
        for group in groups:
            low, high = percentiles(group, (self.low, self.high))
            if high <= low:
                low, high = float(group.min()), float(group.max())
            limits.append((low, high if high > low else low + 1.0))
        lows, highs = ([float(pair[k]) for pair in limits] for k in (0, 1))
        return {"name": "window", "low": lows[0] if joint else lows, "high": highs[0] if joint else highs}


def _thinned(pixels: np.ndarray, count: int) -> np.ndarray:
    """[N, C]: about ``count`` evenly spaced pixels of ``[H, W, C]``; all if there are fewer."""
    step = max(1, int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / count))))
    return pixels[::step, ::step].reshape(-1, pixels.shape[2])


def _repeated(low: float, high: float, count: int) -> Limits:
    return Limits(np.full(count, low, np.float64), np.full(count, high, np.float64))


def _check_percentiles(low: float, high: float) -> None:
    if not 0 <= low < high <= 100:
        raise ValueError(f"expected percentiles 0 <= low < high <= 100; got {low} and {high}")
