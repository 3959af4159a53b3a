"""Prediction in overlapping tiles, and merging of their detections."""

from __future__ import annotations

from segkit.inference.tiles.merging import merge_tiles

__all__ = ["merge_tiles"]
