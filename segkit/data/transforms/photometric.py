"""Photometric transforms: torchvision's v2 transforms, driven by the sample's generator."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.transforms import v2

from segkit.data.transforms.base import Transform, check_probability, uniform
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError

# segkit's counterparts of torchvision's geometric transforms.
COUNTERPARTS = {
    "RandomHorizontalFlip": "RandomHorizontalFlip",
    "RandomVerticalFlip": "RandomVerticalFlip",
    "Resize": "Resize or ResizeShortestEdge",
    "RandomResize": "RandomScale",
    "RandomShortestSize": "ResizeShortestEdge",
    "RandomCrop": "RandomCrop",
    "RandomResizedCrop": "RandomScaledCrop",
    "RandomRotation": "RandomRotation",
    "RandomAffine": "RandomAffine",
    "ScaleJitter": "LargeScaleJitter",
}


class _Lock:
    """A lock for threads that each forked process replaces.

    An inherited lock may be held by a thread that the new process does not have.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


# All threads share torch's global generator: without a lock, one would draw from the stream that another has seeded.
global_random = _Lock()


class Photometric(Transform):
    """Applies a v2 transform to the image with probability ``p``.

    Boxes and masks stay unchanged.

    To wrap another v2 transform, derive from this class with explicit arguments, which a configuration can then set.

    Args:
        inner: a photometric v2 transform.
        p: probability.
    Raises:
        SegkitError: the v2 transform moves pixels.
    """

    inversion = "identity"

    def __init__(self, inner: Any, p: float) -> None:
        check_probability(p)
        check_photometric(inner)
        self._inner = inner
        self.p = p

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        apply = uniform(0, 1, generator) < self.p
        seed = int(torch.randint(0, 2**62, (), generator=generator))
        if not apply:
            return sample
        # v2 draws from torch's global CPU generator: seed it, and restore it afterwards. torch.manual_seed would also
        # reset CUDA's generators, which fork_rng without devices does not restore.
        with global_random, torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            image = self.change(sample.image)
        self.check(sample.image, image)
        return dataclasses.replace(sample, image=image)

    def test_warning(self) -> str:
        return (
            f"changes only a random share of the images (p={self.p:g}), like an augmentation" if 0 < self.p < 1 else ""
        )

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """The changed image [C, H, W], uint8 or float in 0..1.

        v2 transforms take one channel or three; of other images, each channel is changed as a grey image, all by the same
        random amounts. It draws from torch's global generator, which the caller has seeded.
        """
        if isinstance(self._inner, v2.Transform) and len(image) not in (1, 3):
            return self._inner(image[:, None])[:, 0]
        return self._inner(image)

    def check(self, image: torch.Tensor, changed: torch.Tensor) -> None:
        """Raises a SegkitError if shape or type of the image changed."""
        if changed.shape != image.shape or changed.dtype != image.dtype:
            raise SegkitError(
                f"{type(self).__name__} turns an image {list(image.shape)} of {image.dtype} into one "
                f"{list(changed.shape)} of {changed.dtype}: a photometric transform keeps shape and type; to move pixels "
                "and objects together, use the functions of segkit.data.transforms.geometry"
            )

    def __repr__(self) -> str:
        return f"{self._inner!r} with p={self.p}"


def is_geometric(cls: type) -> bool:
    """Whether a class is one of torchvision's own geometric v2 transforms."""
    return cls.__module__ == v2.Resize.__module__


def moves_pixels_message(name: str) -> str:
    """The error message for a v2 transform that moves pixels, with segkit's counterpart."""
    counterpart = f"; segkit's counterpart is {COUNTERPARTS[name]}" if name in COUNTERPARTS else ""
    return f"{name} moves pixels, but boxes and masks would not move with the image{counterpart}"


def check_photometric(inner: Any) -> None:
    """Raises a SegkitError for torchvision's geometric transforms, alone or in a container."""
    if is_geometric(type(inner)):
        raise SegkitError(moves_pixels_message(type(inner).__name__))
    for part in getattr(inner, "transforms", ()):
        check_photometric(part)


@TRANSFORM_REGISTRY.register
class ColorJitter(Photometric):
    """Changes brightness, contrast, saturation and hue by random amounts, in random order.

    Images of other channels than RGB have no saturation and hue: set both to 0. Their channels change by equal factors.

    Args:
        brightness: factor from ``max(0, 1 - b)`` to ``1 + b``, or a pair [low, high].
        contrast: a factor, as brightness.
        saturation: a factor, as brightness.
        hue: shift from ``-h`` to ``h``, at most 0.5, or a pair [low, high].
        p: probability.
    """

    def __init__(
        self,
        *,
        brightness: float | Sequence[float] = 0.2,
        contrast: float | Sequence[float] = 0.2,
        saturation: float | Sequence[float] = 0.2,
        hue: float | Sequence[float] = 0.0,
        p: float = 1.0,
    ) -> None:
        jitter = v2.ColorJitter(brightness, contrast, saturation, hue)
        super().__init__(jitter, p)
        self._of_rgb = [name for name in ("saturation", "hue") if getattr(jitter, name) is not None]

    def check_channels(self, count: int) -> None:
        if count != 3 and self._of_rgb:
            settings = ", ".join(f"{name}: 0" for name in self._of_rgb)
            raise SegkitError(
                f"ColorJitter changes {' and '.join(self._of_rgb)}, which RGB images of 3 channels have; the images have "
                f"{count}: set {settings}"
            )


@TRANSFORM_REGISTRY.register
class GaussianBlur(Photometric):
    """Blurs with a Gaussian of random sigma.

    Images of at most ``kernel_size // 2`` pixels a side stay unchanged.

    Args:
        kernel_size: odd number of pixels.
        sigma: a pair [low, high], in pixels.
        p: probability.
    """

    inversion = "identity"

    def __init__(self, *, kernel_size: int = 5, sigma: Sequence[float] = (0.1, 2.0), p: float = 0.5) -> None:
        super().__init__(v2.GaussianBlur(kernel_size, tuple(sigma)), p)
        self.kernel_size = kernel_size

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        # v2 pads by reflection, which needs an image larger than the padding.
        return sample if min(sample.image.shape[1:]) <= self.kernel_size // 2 else super().__call__(sample, generator)


@TRANSFORM_REGISTRY.register
class GaussianNoise(Photometric):
    """Adds independent Gaussian noise to each channel of each pixel.

    Args:
        sigma: standard deviation; 1 is the range from black to white.
        p: probability.
    """

    def __init__(self, *, sigma: float = 0.03, p: float = 0.5) -> None:
        super().__init__(v2.GaussianNoise(mean=0.0, sigma=sigma, clip=True), p)


@TRANSFORM_REGISTRY.register
class RandomGrayscale(Photometric):
    """Converts to grey with three equal channels."""

    def __init__(self, *, p: float = 0.1) -> None:
        super().__init__(v2.Grayscale(num_output_channels=3), p)

    def check_channels(self, count: int) -> None:
        if count != 3:
            raise SegkitError(
                f"RandomGrayscale converts RGB images of 3 channels; the images have {count}: remove the transform"
            )


@TRANSFORM_REGISTRY.register
class RandomInvert(Photometric):
    """Inverts the image, as between fluorescence and brightfield images."""

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__(v2.RandomInvert(p=1.0), p)


@TRANSFORM_REGISTRY.register
class RandomAdjustSharpness(Photometric):
    """Sharpens (factor above 1) or smooths (factor below 1)."""

    def __init__(self, *, factor: float = 2.0, p: float = 0.5) -> None:
        super().__init__(v2.RandomAdjustSharpness(factor, p=1.0), p)


@TRANSFORM_REGISTRY.register
class RandomAutocontrast(Photometric):
    """Stretches each channel to the full range."""

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__(v2.RandomAutocontrast(p=1.0), p)
