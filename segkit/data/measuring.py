"""Measures intensities, pixel mean and deviation on the training data."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from segkit.config.schema import Config
from segkit.data.formats.base import Dataset
from segkit.data.intensity import Intensity
from segkit.data.reader import build_reader
from segkit.data.transforms.base import build_transforms
from segkit.registry import INTENSITY_REGISTRY
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import ChannelImage, ImageFile
from segkit.utils.seeding import generator_for

logger = logging.getLogger(__name__)
INTENSITY_IMAGES = 256  # evenly spaced in the data set
STATS_IMAGES = 64
DIGITS = 6  # of the written numbers
SMALLEST_STD = 1 / 255  # of a channel that is constant
STATS_KEYS = ("model.pixel_mean", "model.pixel_std")


def measured_values(cfg: Config, dataset: Dataset) -> dict[str, Any]:
    """Measures what ``cfg`` asks for: values by key path, which replace those of ``cfg``.

    The images measured are evenly spaced in the data set, so that the values depend on data and configuration only.

    Args:
        cfg: ``data.intensity`` and ``data.measure_pixel_stats`` say what to measure.
        dataset: the training data.
    Raises:
        SegkitError: an image cannot be read, and ``data.unreadable`` is not ``skip``; the data set has no image files.
    """
    values: dict[str, Any] = {}
    skip = cfg.data.unreadable == "skip"
    if measures_intensity(cfg):
        rule = INTENSITY_REGISTRY.build(cfg.data.intensity, path="data.intensity")
        spec = _measured_intensity(cfg, rule, dataset, skip)
        logger.info("data.intensity: measured on the training data: %s", spec)
        values["data.intensity"] = spec
    if cfg.data.measure_pixel_stats:
        dataset.reader = build_reader(cfg.data, intensity=values.get("data.intensity"))
        mean, std = pixel_stats(dataset, cfg.data.test_transforms, skip_unreadable=skip)
        logger.info("data.measure_pixel_stats: model.pixel_mean: %s, model.pixel_std: %s", mean, std)
        values.update(zip(STATS_KEYS, (mean, std), strict=True), **{"data.measure_pixel_stats": False})
    return values


def measures_intensity(cfg: Config) -> bool:
    """Whether ``data.intensity`` is a rule that is measured on the training data."""
    return bool(getattr(INTENSITY_REGISTRY.get(cfg.data.intensity["name"]), "measured_on_data", False))


def with_measured_values(cfg: Config, saved: Mapping[str, Any] | None, *, required: bool = False) -> Config:
    """The configuration with the values that a run has measured already.

    Args:
        cfg: may ask for values to be measured.
        saved: the configuration in a checkpoint of that run, as a dictionary; None: there is none.
        required: whether nothing is measured later, as in an evaluation.
    Raises:
        SegkitError: ``required``, and the checkpoint lacks a value.
    """
    data, model = (dict((saved or {}).get(section) or {}) for section in ("data", "model"))
    values: dict[str, Any] = {}
    spec = data.get("intensity")
    if measures_intensity(cfg) and spec is not None and spec.get("name") != cfg.data.intensity["name"]:
        values["data.intensity"] = spec
    if cfg.data.measure_pixel_stats and data.get("measure_pixel_stats") is False and "pixel_mean" in model:
        values = {**values, "data.measure_pixel_stats": False}
        values.update({key: model[key.removeprefix("model.")] for key in STATS_KEYS})
    asked = {"data.intensity": measures_intensity(cfg), "data.measure_pixel_stats": cfg.data.measure_pixel_stats}
    if required and (missing := [key for key, is_asked in asked.items() if is_asked and key not in values]):
        raise SegkitError(
            f"{missing[0]}: it is measured at the start of a training run, and the checkpoint has no result; set the numbers "
            "({name: window, low: ..., high: ...}; model.pixel_mean, model.pixel_std and data.measure_pixel_stats: false)",
            key=missing[0],
        )
    return cfg.with_values(values, "the checkpoint") if values else cfg


def pixel_stats(
    dataset: Dataset, test_transforms: Any = (), *, skip_unreadable: bool = False
) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, for values in 0..1, after the test transforms.

    Args:
        dataset: ``STATS_IMAGES`` of its images, evenly spaced, are read.
        test_transforms: specs; those that change colours change the result.
        skip_unreadable: ignore images that cannot be read.
    Raises:
        SegkitError: an image cannot be read, or the images differ in their number of channels.
    """
    transforms = build_transforms(test_transforms, path="data.test_transforms")
    pixels, total, squares = 0, np.zeros(1), np.zeros(1)
    for index in _spaced(len(dataset), STATS_IMAGES):
        try:
            sample = dataset.load(index)
        except SegkitError:
            if not skip_unreadable:
                raise
            continue
        height, width = sample.image.shape[1:]
        sample = dataclasses.replace(sample, targets=Targets.empty((int(height), int(width))))
        image = transforms(sample, generator_for("test transforms", index)).image
        values = image.reshape(len(image), -1).double() / (255 if image.dtype == torch.uint8 else 1)
        if pixels and len(total) != len(values):
            raise SegkitError(
                f"data.measure_pixel_stats: {sample.file_name} has {len(values)} channels, images before it {len(total)}; "
                "choose channels (data.channels)",
                key="data.channels",
            )
        pixels += values.shape[1]
        total, squares = total + values.sum(1).numpy(), squares + values.square().sum(1).numpy()
    if not pixels:
        raise SegkitError("data.measure_pixel_stats: no training image can be read", key="data.train")
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    if (std < SMALLEST_STD).any():
        constant = ", ".join(map(str, np.flatnonzero(std < SMALLEST_STD)))
        logger.warning("data.measure_pixel_stats: channel %s is almost constant in the training images", constant)
    return [[round(float(v), DIGITS) for v in found] for found in (mean, np.maximum(std, SMALLEST_STD))]  # type: ignore[return-value]


def _measured_intensity(cfg: Config, rule: Intensity, dataset: Dataset, skip_unreadable: bool) -> dict[str, Any]:
    files = dataset.image_files()
    if files is None:
        raise SegkitError(
            f"data.intensity: {cfg.data.intensity['name']} measures image files, and the {dataset.describe()} has none; use "
            "{name: window, low: ..., high: ...}",
            key="data.intensity",
        )
    reader = dataset.reader

    def samples() -> Iterator[ChannelImage]:
        for index in _spaced(len(files), INTENSITY_IMAGES):
            try:
                yield reader.sample(ImageFile(files[index], reader.planes))
            except SegkitError:
                if not skip_unreadable:
                    raise

    return rule.measure(samples())


def _spaced(count: int, most: int) -> list[int]:
    """At most ``most`` indices, evenly spaced over ``count``, without repeats."""
    return sorted({i * count // min(count, most) for i in range(min(count, most))})
