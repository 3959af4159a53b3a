"""From opened images to detections in the pixels of their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from segkit.config.schema import Config
from segkit.data.transforms import InvertibleCompose, Transform, build_transforms
from segkit.modeling.nonfinite import naming_images
from segkit.postprocess.base import PostProcessing, build_postprocess
from segkit.structures.detections import Detections
from segkit.structures.sample import Batch, Sample


class InferencePipeline:
    """What happens to an image: test transforms, the model, the way back, post-processing.

    ``Predictor`` and the evaluation of a run use the same one, so that metrics measure what a prediction writes.

    Args:
        model: has ``predict(images, output_sizes)``.
        transforms: ``data.test_transforms``.
        postprocess: applied to the detections of the whole image.
    """

    def __init__(self, model: Any, transforms: InvertibleCompose, postprocess: PostProcessing) -> None:
        self.model, self.transforms, self.post_processing = model, transforms, postprocess

    @property
    def replaces_model(self) -> bool:
        """Whether an evaluation calls :meth:`predict_batch` in place of the model.

        It cannot measure the losses then.
        """
        return False

    def postprocess(self, detections: Detections) -> Detections:
        """The detections of one image, post-processed; on the CPU if there is something to do."""
        return self.post_processing(detections.to("cpu")) if len(self.post_processing) else detections

    def predict(self, samples: Sequence[Sample]) -> list[Detections]:
        """Detections of opened images in the pixels of their files, post-processed, on the CPU.

        Args:
            samples: as ``Dataset.open`` returns them: without transforms, their images maybe lazy.
        """
        # An own generator: a test transform that draws must not change the global one.
        batch = Batch([self.transforms(sample, torch.Generator().manual_seed(0)) for sample in samples])
        return [self.postprocess(found).to("cpu") for found in self.predict_batch(batch)]

    def predict_batch(self, batch: Batch) -> list[Detections]:
        """Detections of transformed images in the pixels of their files, before post-processing."""
        names = [sample.file_name or f"image {i} of its batch" for i, sample in enumerate(batch.samples)]
        with naming_images(names):
            return batch.map_to_file(self.model.predict(batch.images, batch.output_sizes))


def build_pipeline(cfg: Config, model: Any) -> InferencePipeline:
    """Builds the pipeline of a configuration.

    Args:
        cfg: ``data.test_transforms`` and ``predict`` are used.
        model: on its device.
    Raises:
        SegkitError: an argument of a component or the overlap is wrong, or detections cannot be mapped back through a transform.
    """
    transforms = InvertibleCompose(build_transforms(cfg.data.test_transforms, path="data.test_transforms"))
    parts = (model, transforms, build_postprocess(cfg.predict.postprocess))
    if cfg.predict.tile is None:
        return InferencePipeline(*parts)
    from segkit.inference.tiles.pipeline import TiledPipeline  # a subclass of this module's class

    tiles = {"tile": cfg.predict.tile, "overlap": cfg.predict.overlap, "batch_size": cfg.data.test_batch_size}
    return TiledPipeline(*parts, **tiles)


def evaluation_transforms(cfg: Config) -> Transform | None:
    """The transforms of an evaluation's loader: ``data.test_transforms``; None with tiles, which are transformed singly."""
    if cfg.predict.tile is not None:
        return None
    return build_transforms(cfg.data.test_transforms, path="data.test_transforms")
