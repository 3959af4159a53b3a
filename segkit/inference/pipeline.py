"""Builds the inference pipeline of a configuration."""

from __future__ import annotations

from typing import Any

from segkit.config.schema import Config
from segkit.data.transforms import InvertibleCompose, Transform, build_transforms
from segkit.inference.augmentations import AugmentedModel, build_augmentations
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
    postprocess, predict = build_postprocess(cfg.predict.postprocess), cfg.predict
    if predict.augmentations:
        model = AugmentedModel(model, build_augmentations(predict.augmentations))
    if predict.tile is None:
        return InferencePipeline(model, transforms, postprocess)
    return TiledPipeline(
        model,
        transforms,
        postprocess,
        tile=predict.tile,
        overlap=predict.overlap,
        batch_size=cfg.data.test_batch_size,
    )


def evaluation_transforms(cfg: Config) -> Transform | None:
    """The test transforms for an evaluation's loader; None with tiles.

    With tiles the pipeline transforms each tile on its own.
    """
    if cfg.predict.tile is not None:
        return None
    return build_transforms(cfg.data.test_transforms, path="data.test_transforms")
