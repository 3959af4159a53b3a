"""One-stage model of backbone, neck and RPN, which detects objects of no particular class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from segkit.modeling.interfaces import ProposalGenerator
from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from segkit.modeling.meta_arch.detector import FEATURES_OF_BACKBONE, FEATURES_OF_NECK, Detector
from segkit.registry import META_ARCH_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, Slot
from segkit.structures.detections import Detections
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


@META_ARCH_REGISTRY.register
class ProposalNetwork(Detector):
    """Backbone, neck and proposal generator without RoI heads (Ren et al. 2015, section 3.1).

    It trains on the boxes of all classes without their labels. Its detections have label 0 and the objectness as score,
    and evaluators count all classes of the data as one.

    Args:
        num_classes: K, classes of the data.
        backbone: image to feature maps.
        neck: feature maps to a pyramid; null: the backbone's maps are used.
        proposal_generator: proposes boxes that may contain objects.
        detections_per_image: number of proposals of an image returned at most, in evaluation too; the proposal generator
            has its own limit.
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
        },
    )  # fmt: skip
    class_agnostic = True

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Annotated[nn.Module, FEATURES_OF_BACKBONE],
        neck: Annotated[nn.Module | None, FEATURES_OF_NECK],
        proposal_generator: Annotated[ProposalGenerator, Slot(PROPOSAL_GENERATOR_REGISTRY)],
        detections_per_image: int = 1000,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
        size_divisor: int = 32,
    ) -> None:
        super().__init__(num_classes, backbone, neck, proposal_generator, pixel_mean, pixel_std, size_divisor)
        if detections_per_image < 1:
            raise SegkitError(f"detections_per_image must be at least 1, not {detections_per_image}")
        self._detections_per_image = detections_per_image
        self.to(memory_format=torch.channels_last)  # see GeneralizedRCNN

    @property
    def detections_per_image(self) -> int:
        return self._detections_per_image

    @property
    def predicts_masks(self) -> bool:
        """False: proposals have no masks."""
        return False

    def _second_stage_losses(
        self,
        features: Mapping[str, Tensor],
        output: Any,
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Targets],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        return {}

    def _detections(
        self, features: Mapping[str, Tensor], output: Any, sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        found = self.proposal_generator.scored_proposals(output, sizes, training=False)
        detections = []
        for (boxes, logits), size in zip(found, sizes, strict=True):
            boxes, scores = boxes[: self.detections_per_image], logits[: self.detections_per_image].sigmoid()
            labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
            detections.append(Detections(boxes, scores, labels, mask_probs=None, size=size))
        return detections
