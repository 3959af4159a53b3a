"""Backbone, neck, proposals and RoI heads put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segkit.modeling.interfaces import ProposalGenerator, ROIHeads
from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD, check_images, normalize, own_generator
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
class GeneralizedRCNN(nn.Module):
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
    pixel_mean: Tensor
    pixel_std: Tensor

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
        super().__init__()
        if num_classes < 1:
            raise SegkitError(f"num_classes must be at least 1, not {num_classes}")
        if len(pixel_mean) != len(pixel_std) or min(pixel_std, default=0) <= 0:
            raise SegkitError("pixel_mean and pixel_std need a value a channel, the deviations above 0")
        in_channels = getattr(backbone, "in_channels", len(pixel_mean))
        if in_channels != len(pixel_mean):
            raise SegkitError(
                f"the backbone takes images of {in_channels} channels (in_channels), but pixel_mean and pixel_std have "
                f"{len(pixel_mean)} values; give them one a channel",
                key="pixel_mean",
            )
        if size_divisor < 1:
            raise SegkitError(f"size_divisor must be at least 1, not {size_divisor}")
        self.num_classes = num_classes
        self.backbone = backbone
        self.neck = neck
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.size_divisor = size_divisor
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(-1, 1, 1), persistent=False)
        # Convolutions are faster on channels-last maps, on CPUs and on tensor cores alike; RoIAlign's rows are views.
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Where the model is; images and targets are brought there."""
        return self.pixel_mean.device

    @property
    def detections_per_image(self) -> int:
        """How many detections an image has at most, in prediction and evaluation."""
        return self.roi_heads.detections_per_image

    def forward(
        self,
        images: Sequence[Tensor] | ImageBatch,
        targets: Sequence[Targets] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """:meth:`losses` in training mode, :meth:`predict` in evaluation mode."""
        if self.training:
            if targets is None:
                raise SegkitError("a model in training mode needs targets; call model.eval() or model.predict(images)")
            return self.losses(images, targets, generator)
        return self.predict(images)

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
            scalars ``rpn_cls``, ``rpn_box``, ``cls``, ``box`` and, with a mask head, ``mask``.
        """
        batch = self.preprocess(images)
        self._check_targets(targets, batch)
        targets = [t.to(self.device) for t in targets]
        generator = generator or own_generator(self.device)
        features = self.features(batch.tensor)
        output = self.proposal_generator(features)
        losses = self.proposal_generator.losses(output, targets, generator)
        proposals = self.proposal_generator.proposals(output, batch.sizes, training=True)
        losses.update(self.roi_heads.losses(features, proposals, targets, generator))
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

    def features(self, tensor: Tensor) -> dict[str, Tensor]:
        """The pyramid of a normalised batch [B, C, H, W]."""
        features = self.backbone(tensor)
        return features if self.neck is None else self.neck(features)

    def preprocess(self, images: Sequence[Tensor] | ImageBatch) -> ImageBatch:
        """Bring images to the model's device, mean and deviation, padded with the mean to one size."""
        if isinstance(images, ImageBatch):
            images = [image[:, :h, :w] for image, (h, w) in zip(images.tensor, images.sizes, strict=True)]
        check_images(images, channels=len(self.pixel_mean))
        normalized = [
            normalize(image.to(self.device, non_blocking=True), self.pixel_mean, self.pixel_std) for image in images
        ]
        batch = ImageBatch.from_images(normalized, divisor=self.size_divisor)
        return ImageBatch(batch.tensor.contiguous(memory_format=torch.channels_last), batch.sizes)

    def _check_targets(self, targets: Sequence[Targets], batch: ImageBatch) -> None:
        if len(targets) != len(batch.sizes):
            raise SegkitError(f"{len(targets)} targets for {len(batch.sizes)} images")
        for i, (image_targets, size) in enumerate(zip(targets, batch.sizes, strict=True)):
            labels, masks = image_targets.labels, image_targets.masks
            # Looked at where the targets are: those of a loader are on the CPU, and no device has to be waited for.
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
                raise SegkitError(
                    f"targets[{i}]: labels {int(labels.min())} to {int(labels.max())}; expected 0 to "
                    f"{self.num_classes - 1}: they are 0-based, and the background has none"
                )
            if masks is not None and tuple(masks.canvas) != tuple(size):
                raise SegkitError(f"targets[{i}]: masks of {tuple(masks.canvas)} pixels for an image of {tuple(size)}")
