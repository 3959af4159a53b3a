"""Prediction in overlapping tiles, and merging of their detections."""

from __future__ import annotations

from segkit.inference.tiles.merging import TileMerger, merge_tiles
from segkit.inference.tiles.pipeline import TiledPipeline

__all__ = ["TileMerger", "TiledPipeline", "merge_tiles"]
