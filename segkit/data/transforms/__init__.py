"""Augmentation: transforms of a sample's image, boxes and masks together.

Importing this package registers them (see :class:`segkit.data.transforms.base.Transform`).
"""

from segkit.data.transforms.affine import RandomAffine, RandomRotation
from segkit.data.transforms.base import Compose, MixingTransform, Transform, build_transforms
from segkit.data.transforms.contrast import DarkBackground, PercentileContrast
from segkit.data.transforms.copy_paste import CopyPaste
from segkit.data.transforms.cropping import RandomCrop, RandomScaledCrop
from segkit.data.transforms.flips import RandomHorizontalFlip, RandomQuarterTurn, RandomVerticalFlip
from segkit.data.transforms.invertible import InvertibleCompose
from segkit.data.transforms.large_scale_jitter import LargeScaleJitter
from segkit.data.transforms.mosaic import Mosaic
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
from segkit.data.transforms.torchvision_transforms import TorchvisionTransform, adapt_transform

__all__ = [
    "ColorJitter",
    "Compose",
    "CopyPaste",
    "DarkBackground",
    "GaussianBlur",
    "GaussianNoise",
    "InvertibleCompose",
    "LargeScaleJitter",
    "MixingTransform",
    "Mosaic",
    "PercentileContrast",
    "Photometric",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomCrop",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomQuarterTurn",
    "RandomRotation",
    "RandomScale",
    "RandomScaledCrop",
    "RandomVerticalFlip",
    "Resize",
    "ResizeShortestEdge",
    "TorchvisionTransform",
    "Transform",
    "adapt_transform",
    "build_transforms",
]
