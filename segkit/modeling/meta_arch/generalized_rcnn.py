"""Backbone, neck, proposals and RoI heads put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segkit.modeling.interfaces import ProposalGenerator, ROIHeads
from segkit.modeling.layers.preprocessing import own_generator
from segkit.modeling.meta_arch.detector import IMAGENET_MEAN, IMAGENET_STD, Detector
from segkit.registry import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    NECK_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    Slot,
)
from segkit.structures.detections import Detections
from segkit.structures.image_batch import ImageBatch
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


@META_ARCH_REGISTRY.register
class GeneralizedRCNN(Detector):
    """A two-stage detector: Faster R-CNN, or Mask R-CNN where the RoI heads have a mask head.

    Images are RGB, uint8 or float 0..1, of any sizes; the model brings them to its mean and deviation and pads them.
    It never resizes: that is the transforms' business.

    Args:
        num_classes: K; labels are 0 .. K - 1.
        backbone: image to feature maps.
        neck: feature maps to a pyramid; null: the backbone's own maps.
        proposal_generator: where objects may be.
        roi_heads: what they are.
        pixel_mean: of each channel, for values in 0..1.
        pixel_std: likewise.
        size_divisor: the batch is padded to a multiple of this.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Annotated[nn.Module, Slot(BACKBONE_REGISTRY, gives={"in_features": "out_features"})],
        neck: Annotated[nn.Module | None, Slot(NECK_REGISTRY, gives={"in_features": "out_features"})],
        proposal_generator: Annotated[ProposalGenerator, Slot(PROPOSAL_GENERATOR_REGISTRY)],
        roi_heads: Annotated[ROIHeads, Slot(ROI_HEADS_REGISTRY)],
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
        size_divisor: int = 32,
    ) -> None:
        super().__init__(num_classes, backbone, neck, pixel_mean, pixel_std, size_divisor)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        # Convolutions are faster on channels-last maps, on CPUs and on tensor cores alike; RoIAlign's rows are views.
        self.to(memory_format=torch.channels_last)

    @property
    def detections_per_image(self) -> int:
        """How many detections an image has at most, in prediction and evaluation."""
        return self.roi_heads.detections_per_image

    def losses(
        self,
        images: Sequence[Tensor] | ImageBatch,
        targets: Sequence[Targets],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The training losses, whatever the mode; their sum is what is minimised.

        Args:
            images: [C, H_i, W_i] each, RGB, uint8 or float 0..1.
            targets: one an image, in its pixels.
            generator: draws the samples, on the model's device; None: one with a fixed seed. The global random state
                is not touched.
        Returns:
            scalars ``rpn_cls``, ``rpn_box``, ``cls``, ``box`` (for each stage of a cascade: ``cls_stage1``, ...) and, with
            a mask head, ``mask``.
        """
        batch = self.preprocess(images)
        self._check_targets(targets, batch)
        targets = [t.to(self.device) for t in targets]
        generator = generator or own_generator(self.device)
        features = self.features(batch.tensor)
        output = self.proposal_generator(features)
        losses = self.proposal_generator.losses(output, targets, generator)
        proposals = self.proposal_generator.proposals(output, batch.sizes, training=True)
        losses.update(self.roi_heads.losses(features, proposals, targets, generator, batch.sizes))
        return losses

    @torch.no_grad()
    def predict(
        self, images: Sequence[Tensor] | ImageBatch, output_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Detections]:
        """Detections of each image, best first.

        Args:
            images: as in :meth:`losses`.
            output_sizes: (height, width) each image's detections are given in; None: that of the image.
        """
        batch = self.preprocess(images)
        if output_sizes is not None and len(output_sizes) != len(batch.sizes):
            raise SegkitError(f"{len(output_sizes)} output sizes for {len(batch.sizes)} images")
        features = self.features(batch.tensor)
        output = self.proposal_generator(features)
        proposals = self.proposal_generator.proposals(output, batch.sizes, training=False)
        detections = self.roi_heads.predict(features, proposals, batch.sizes)
        if output_sizes is None:
            return detections
        return [d.resized(size) for d, size in zip(detections, output_sizes, strict=True)]
