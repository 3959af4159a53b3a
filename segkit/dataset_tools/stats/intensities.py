"""Intensities of stored images by channel, and how the images look to a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from segkit.data.formats.base import Dataset
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError
from segkit.utils.images.image_file import ImageFile

PERCENTS = (0.0, 0.1, 1.0, 25.0, 50.0, 75.0, 99.0, 99.9, 100.0)
PIXELS = 20_000  # of an image that are looked at
LARGEST = 16_000_000  # pixels of an image that is read whole
WINDOW = 2048  # side of the window that is read of a larger one


@dataclass(frozen=True)
class Intensities:
    """Stored samples of some images.

    Attributes:
        images: number of images read.
        unreadable: number of images that could not be read.
        dtypes: number of images by the type of their samples.
        bits: number of images by the bits of a sample.
        channels: number of images by the number of their channels.
        colors: number of images by colour space.
        percentiles: float64 [channels, len(PERCENTS)], of the most frequent number of channels.
        mean, std: float64 [channels], likewise.
        ranges: float64 [images], of each image the 99.9 less the 0.1 percentile of all its channels.
    """

    images: int
    unreadable: int
    dtypes: Counter[str]
    bits: Counter[int]
    channels: Counter[int]
    colors: Counter[str]
    percentiles: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    ranges: np.ndarray

    @property
    def most_channels(self) -> int:
        """The most frequent number of channels; 0 if no image was read."""
        return max(self.channels, key=lambda number: (self.channels[number], number), default=0)

    @property
    def is_8_bit(self) -> bool:
        """Whether every image has samples of at most 8 bits."""
        return max(self.bits, default=8) <= 8


@dataclass(frozen=True)
class Appearance:
    """How some images look to a model; one entry an image, intensities as shares of 0..255.

    Attributes:
        median, low, high: float64 [M], of the mean over the channels; low and high are the 0.1 and 99.9 percentiles.
        contrast: float64 [M], mean inside of the objects less mean outside; NaN if one of the two is empty.
        grey: bool [M], all channels are equal.
        top_light: float64 [M], mean of the upper half less mean of the lower one, in the image's standard deviations.
        skipped: number of images that are too large to be read whole, or cannot be read.
    """

    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    contrast: np.ndarray
    grey: np.ndarray
    top_light: np.ndarray
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.median)


def measure_intensities(dataset: Dataset, indices: np.ndarray) -> Intensities:
    """Reads the stored samples of the images at ``indices``; of large images the middle."""
    files = dataset.image_files()
    dtypes: Counter[str] = Counter()
    bits: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    colors: Counter[str] = Counter()
    pixels: dict[int, list[np.ndarray]] = {}
    unreadable = 0
    ranges: list[float] = []
    for index in indices.tolist():
        try:
            stored, depth, color = _stored(dataset, index, None if files is None else files[index])
        except SegkitError:
            unreadable += 1
            continue
        samples = stored.reshape(-1, stored.shape[2])
        dtypes[str(stored.dtype)] += 1
        bits[depth] += 1
        channels[stored.shape[2]] += 1
        colors[color] += 1
        step = max(1, len(samples) // PIXELS)
        few = samples[::step].astype(np.float64)
        ranges.append(float(np.ptp(np.percentile(few, (0.1, 99.9)))))
        pixels.setdefault(stored.shape[2], []).append(few)
    most = max(channels, key=lambda number: (channels[number], number), default=0)
    values = np.concatenate(pixels[most]) if most else np.zeros((0, 0))
    values = values[np.isfinite(values).all(1)]
    percentiles = np.percentile(values, PERCENTS, axis=0).T if values.size else np.zeros((0, len(PERCENTS)))
    mean, std = (values.mean(0), values.std(0)) if values.size else (np.zeros(0), np.zeros(0))
    return Intensities(
        len(indices) - unreadable, unreadable, dtypes, bits, channels, colors, percentiles, mean, std, np.array(ranges)
    )


def _stored(dataset: Dataset, index: int, file: str | None) -> tuple[np.ndarray, int, str]:
    """Samples [H, W, C] of an image, bits of a sample, colour space."""
    if file is None:
        image = dataset.load(index).image.permute(1, 2, 0).numpy()
        return image, image.dtype.itemsize * 8, "rgb" if image.shape[2] == 3 else "grey"
    source = ImageFile(file, dataset.reader.planes)
    height, width = source.size
    window = None
    if height * width > LARGEST:
        left, top = max(0, (width - WINDOW) // 2), max(0, (height - WINDOW) // 2)
        window = (left, top, min(width, left + WINDOW), min(height, top + WINDOW))
    stored = source.read(window)
    samples = stored.pixels if stored.pixels.ndim == 3 else stored.pixels[:, :, None]
    return samples, stored.bits, stored.color


def measure_appearance(dataset: Dataset, indices: np.ndarray) -> Appearance:
    """Loads the images at ``indices`` with their objects."""
    rows: list[tuple[float, ...]] = []
    skipped = 0
    for index in indices.tolist():
        height, width = dataset.size(index)
        if height * width > LARGEST:
            skipped += 1
            continue
        try:
            rows.append(_look(dataset.load(index)))
        except SegkitError:
            skipped += 1
    median, low, high, contrast, grey, top = np.array(rows, np.float64).reshape(-1, 6).T
    return Appearance(median, low, high, contrast, grey.astype(bool), top, skipped)


def _look(sample: Sample) -> tuple[float, ...]:
    """The row of one image in :class:`Appearance`."""
    image = sample.image.numpy()
    full = 255.0 if image.dtype == np.uint8 else 1.0
    light = image.astype(np.float32).mean(0) / full
    low, median, high = np.percentile(light, (0.1, 50, 99.9))
    inside = np.zeros(light.shape, bool)  # one image's pixels, of all objects together
    if sample.targets.masks is not None:
        for crop, (x0, y0, x1, y1) in zip(
            sample.targets.masks.crops(), sample.targets.masks.crop_boxes.tolist(), strict=True
        ):
            inside[y0:y1, x0:x1] |= crop.numpy().astype(bool)
    contrast = float(light[inside].mean() - light[~inside].mean()) if inside.any() and not inside.all() else np.nan
    grey = bool((image == image[:1]).all())
    half = light.shape[0] // 2
    spread = float(light.std())
    top = (float(light[:half].mean()) - float(light[half:].mean())) / spread if half and spread > 0 else 0.0
    return float(median), float(low), float(high), contrast, float(grey), top
