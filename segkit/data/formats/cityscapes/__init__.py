"""Cityscapes: street scenes with instance PNGs or polygons."""

from segkit.data.formats.cityscapes.dataset import Cityscapes

__all__ = ["Cityscapes"]
