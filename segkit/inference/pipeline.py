"""Builds the inference pipeline of a configuration."""

from __future__ import annotations

from typing import Any

from segkit.config.schema import Config
from segkit.data.transforms import InvertibleCompose, Transform, build_transforms
from segkit.inference.image_pipeline import InferencePipeline
from segkit.inference.tiles.pipeline import TiledPipeline
from segkit.postprocess.base import build_postprocess

__all__ = ["InferencePipeline", "build_pipeline", "evaluation_transforms"]


def build_pipeline(cfg: Config, model: Any) -> InferencePipeline:
    """Builds the pipeline of a configuration.

    Args:
        cfg: ``data.test_transforms`` and ``predict`` are used.
        model: on its device.
    Raises:
        SegkitError: an argument of a component or the overlap is wrong, or a transform has no inverse.
    """
    transforms = InvertibleCompose(build_transforms(cfg.data.test_transforms, path="data.test_transforms"))
    parts = (model, transforms, build_postprocess(cfg.predict.postprocess))
    if cfg.predict.tile is None:
        return InferencePipeline(*parts)
    tiles = {"tile": cfg.predict.tile, "overlap": cfg.predict.overlap, "batch_size": cfg.data.test_batch_size}
    return TiledPipeline(*parts, **tiles)


def evaluation_transforms(cfg: Config) -> Transform | None:
    """The transforms of an evaluation's loader: ``data.test_transforms``; None with tiles, which are transformed singly."""
    if cfg.predict.tile is not None:
        return None
    return build_transforms(cfg.data.test_transforms, path="data.test_transforms")
