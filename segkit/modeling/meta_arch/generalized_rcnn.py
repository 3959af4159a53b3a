"""Two-stage detector: backbone, neck, proposal generator and RoI heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from segkit.modeling.interfaces import ProposalGenerator, ROIHeads
from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from segkit.modeling.meta_arch.detector import FEATURES_OF_BACKBONE, FEATURES_OF_NECK, Detector
from segkit.registry import (
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    Slot,
)
from segkit.structures.detections import Detections
from segkit.structures.targets import Targets


@META_ARCH_REGISTRY.register
class GeneralizedRCNN(Detector):
    """A two-stage detector: Faster R-CNN, or Mask R-CNN if the RoI heads have a mask head.

    Images are RGB, uint8 or float in 0..1, of any sizes. The model normalises and pads them; it does not resize them,
    which the transforms do.

    Args:
        num_classes: K; labels are 0 .. K - 1.
        backbone: image to feature maps.
        neck: feature maps to a pyramid; null: the backbone's maps are used.
        proposal_generator: proposes boxes that may contain objects.
        roi_heads: class, box and mask of each proposal.
        pixel_mean: mean of each channel, for values in 0..1.
        pixel_std: standard deviation of each channel, likewise.
        size_divisor: height and width of a batch are padded to multiples of it.
    """

    examples = (
        {
            "backbone": {"name": "TinyNet", "width": 8},
            "neck": {"name": "FPN", "out_channels": 16},
            "proposal_generator": {
                "name": "RPN", "anchor_generator": {"name": "AnchorGenerator"}, "head": {"name": "RPNHead"}
            },
            "roi_heads": {
                "name": "StandardROIHeads",
                "box_head": {"name": "FastRCNNHead", "fc_dims": [16]},
                "mask_head": {"name": "FCNMaskHead", "conv_dims": [8]},
            },
        },
    )  # fmt: skip

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Annotated[nn.Module, FEATURES_OF_BACKBONE],
        neck: Annotated[nn.Module | None, FEATURES_OF_NECK],
        proposal_generator: Annotated[ProposalGenerator, Slot(PROPOSAL_GENERATOR_REGISTRY)],
        roi_heads: Annotated[ROIHeads, Slot(ROI_HEADS_REGISTRY)],
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
        size_divisor: int = 32,
    ) -> None:
        super().__init__(num_classes, backbone, neck, proposal_generator, pixel_mean, pixel_std, size_divisor)
        self.roi_heads = roi_heads
        # Convolutions are faster with channels last, on CPUs and tensor cores, and RoIAlign's rows are views.
        self.to(memory_format=torch.channels_last)

    @property
    def detections_per_image(self) -> int:
        """Number of detections of an image at most, in prediction and evaluation."""
        return self.roi_heads.detections_per_image

    @property
    def predicts_masks(self) -> bool:
        """Whether the detections have masks."""
        return self.roi_heads.predicts_masks

    def _second_stage_losses(
        self,
        features: Mapping[str, Tensor],
        output: Any,
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Targets],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        proposals = self.proposal_generator.proposals(output, sizes, training=True)
        return self.roi_heads.losses(features, proposals, targets, generator, sizes)

    def _detections(
        self, features: Mapping[str, Tensor], output: Any, sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        return self.roi_heads.predict(features, self.proposal_generator.proposals(output, sizes, training=False), sizes)

    def _boxes(self, features: Mapping[str, Tensor], output: Any, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        proposals = self.proposal_generator.proposals(output, sizes, training=False)
        return self.roi_heads.predict_boxes(features, proposals, sizes)

    @torch.no_grad()
    def predict_mask_probs(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> list[Tensor]:
        return self.roi_heads.mask_probs(features, boxes, labels)
