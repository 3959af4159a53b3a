"""Necks: modules from a backbone's feature maps to a feature pyramid."""

from segkit.modeling.necks.fpn import FPN

__all__ = ["FPN"]
