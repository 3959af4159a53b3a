"""Changes of colour and sharpness: torchvision's v2 transforms on the image alone, made functions of our generator."""

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

# torchvision's geometric transforms, and segkit's that do the same.
OWN = {
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
    """A lock for threads, new in each process: a forked one would keep the lock of a thread that it does not have."""

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


# Torch's global generator is one for all threads: two that lend it a seed would draw each other's numbers.
global_random = _Lock()


class Photometric(Transform):
    """A v2 transform of the image with probability ``p``; objects stay where they are.

    Derive from it to wrap another one, with its arguments spelt out (the signature is what a configuration may say).

    Raises:
        SegkitError: the v2 transform moves pixels, and would leave the objects behind.
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
        # v2 draws from torch's global CPU generator: lend it a seed, then put it back. torch.manual_seed would also
        # reset CUDA's generators, which fork_rng without devices does not put back.
        with global_random, torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            image = self.change(sample.image)
        self.check(sample.image, image)
        return dataclasses.replace(sample, image=image)

    def test_warning(self) -> str:
        return (
            f"changes a random share of the images only (p={self.p:g}), as an augmentation does"
            if 0 < self.p < 1
            else ""
        )

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """The changed image, uint8 [C, H, W]; all randomness is torch's global one, which is seeded for it."""
        return self._inner(image)

    def check(self, image: torch.Tensor, changed: torch.Tensor) -> None:
        """SegkitError where shape or type of the image are not what they were."""
        if changed.shape != image.shape or changed.dtype != image.dtype:
            raise SegkitError(
                f"{type(self).__name__} makes an image {list(changed.shape)} of {changed.dtype} of one "
                f"{list(image.shape)} of {image.dtype}: a photometric transform keeps shape and type; what moves pixels "
                "moves the objects too, by the functions of segkit.data.transforms.geometry"
            )

    def __repr__(self) -> str:
        return f"{self._inner!r} with p={self.p}"


def is_geometric(cls: type) -> bool:
    """Whether a class is one of torchvision's geometric v2 transforms."""
    return cls.__module__ == v2.Resize.__module__


def moves_pixels(name: str) -> str:
    """The message for a transform of torchvision's that is not photometric."""
    own = f"; segkit's own is {OWN[name]}" if name in OWN else ""
    return f"{name} moves pixels, and is used on the image alone: boxes and masks would stay where they were{own}"


def check_photometric(inner: Any) -> None:
    """SegkitError for one of torchvision's geometric transforms, on its own or in a container."""
    if is_geometric(type(inner)):
        raise SegkitError(moves_pixels(type(inner).__name__))
    for part in getattr(inner, "transforms", ()):
        check_photometric(part)


@TRANSFORM_REGISTRY.register
class ColorJitter(Photometric):
    """Random brightness, contrast, saturation and hue, in random order.

    Args:
        brightness: factor from ``max(0, 1 - b)`` to ``1 + b``, or a pair [low, high].
        contrast: likewise.
        saturation: likewise.
        hue: shift from ``-h`` to ``h``, at most 0.5, or a pair.
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
        super().__init__(v2.ColorJitter(brightness, contrast, saturation, hue), p)


@TRANSFORM_REGISTRY.register
class GaussianBlur(Photometric):
    """Blur with a Gaussian whose sigma, in pixels, is drawn from ``sigma``; images smaller than its half stay.

    Args:
        kernel_size: odd number of pixels.
        sigma: a pair [low, high].
        p: probability.
    """

    inversion = "identity"

    def __init__(self, *, kernel_size: int = 5, sigma: Sequence[float] = (0.1, 2.0), p: float = 0.5) -> None:
        super().__init__(v2.GaussianBlur(kernel_size, tuple(sigma)), p)
        self.kernel_size = kernel_size

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        # The kernel's overhang is filled by reflection, which needs as many pixels.
        return sample if min(sample.image.shape[1:]) <= self.kernel_size // 2 else super().__call__(sample, generator)


@TRANSFORM_REGISTRY.register
class GaussianNoise(Photometric):
    """Add independent noise to each value.

    Args:
        sigma: standard deviation, where white is 1.
        p: probability.
    """

    def __init__(self, *, sigma: float = 0.03, p: float = 0.5) -> None:
        super().__init__(v2.GaussianNoise(mean=0.0, sigma=sigma, clip=True), p)


@TRANSFORM_REGISTRY.register
class RandomGrayscale(Photometric):
    """Take the colour away, keeping three equal channels."""

    def __init__(self, *, p: float = 0.1) -> None:
        super().__init__(v2.Grayscale(num_output_channels=3), p)


@TRANSFORM_REGISTRY.register
class RandomInvert(Photometric):
    """Make the negative: as between fluorescence and brightfield images."""

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__(v2.RandomInvert(p=1.0), p)


@TRANSFORM_REGISTRY.register
class RandomAdjustSharpness(Photometric):
    """Sharpen (factor above 1) or smooth (below 1)."""

    def __init__(self, *, factor: float = 2.0, p: float = 0.5) -> None:
        super().__init__(v2.RandomAdjustSharpness(factor, p=1.0), p)


@TRANSFORM_REGISTRY.register
class RandomAutocontrast(Photometric):
    """Stretch each channel to the full range."""

    def __init__(self, *, p: float = 0.5) -> None:
        super().__init__(v2.RandomAutocontrast(p=1.0), p)
