"""Necks: feature maps in, feature maps out."""

from segkit.modeling.necks.fpn import FPN

__all__ = ["FPN"]
