"""The inference pipeline of an image: transforms, the model, the way back, post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from segkit.data.transforms import InvertibleCompose
from segkit.inference.augmentations.augmented_model import AugmentedModel
from segkit.modeling.nonfinite import naming_images
from segkit.postprocess.base import PostProcessing
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
        return isinstance(self.model, AugmentedModel)

    @property
    def takes_opened_images(self) -> bool:
        """Whether :meth:`predict_batch` takes opened images, and transforms them itself."""
        return False

    @property
    def reads_windows(self) -> bool:
        """Whether a lazy image is read by windows, so that a large file need not be read whole."""
        return False

    def postprocess(self, detections: Detections) -> Detections:
        """The detections of one image, post-processed; on the CPU if there is something to do."""
        return self.post_processing(detections.to("cpu")) if len(self.post_processing) else detections

    def predict(self, samples: Sequence[Sample]) -> list[Detections]:
        """Detections of opened images in the pixels of their files, post-processed, on the CPU.

        Args:
            samples: as ``Dataset.open`` returns them: without transforms, their images maybe lazy.
        """
        return [self.postprocess(found).to("cpu") for found in self.predict_opened(samples)]

    def predict_opened(self, samples: Sequence[Sample]) -> list[Detections]:
        """Detections of opened images in the pixels of their files, before post-processing."""
        # An own generator: a test transform that draws must not change the global one.
        return self.predict_batch(
            Batch([self.transforms(sample, torch.Generator().manual_seed(0)) for sample in samples])
        )

    def predict_batch(self, batch: Batch) -> list[Detections]:
        """Detections of transformed images in the pixels of their files, before post-processing.

        With ``takes_opened_images`` it applies the test transforms itself.
        """
        names = [sample.file_name or f"image {i} of its batch" for i, sample in enumerate(batch.samples)]
        with naming_images(names):
            return batch.map_to_file(self.model.predict(batch.images, batch.output_sizes))
