"""Transforms, registered by importing this package; see :class:`segkit.data.transforms.base.Transform`."""

from segkit.data.transforms.base import Compose, Transform, build_transforms
from segkit.data.transforms.contrast import DarkBackground, PercentileContrast
from segkit.data.transforms.cropping import RandomCrop, RandomScaledCrop
from segkit.data.transforms.flips import RandomHorizontalFlip, RandomQuarterTurn, RandomVerticalFlip
from segkit.data.transforms.photometric import (
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
    Photometric,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomGrayscale,
    RandomInvert,
)
from segkit.data.transforms.resizing import RandomScale, Resize, ResizeShortestEdge

__all__ = [
    "ColorJitter",
    "Compose",
    "DarkBackground",
    "GaussianBlur",
    "GaussianNoise",
    "PercentileContrast",
    "Photometric",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomCrop",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomQuarterTurn",
    "RandomScale",
    "RandomScaledCrop",
    "RandomVerticalFlip",
    "Resize",
    "ResizeShortestEdge",
    "Transform",
    "build_transforms",
]
