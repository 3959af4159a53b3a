"""A Mask R-CNN in one call, without a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from segkit.modeling.meta_arch.generalized_rcnn import GeneralizedRCNN
from segkit.modeling.necks.fpn import FPN
from segkit.modeling.proposals import RPN, AnchorGenerator, RPNHead
from segkit.modeling.roi_heads import FastRCNNHead, FCNMaskHead, StandardROIHeads


def mask_rcnn(
    backbone: nn.Module,
    num_classes: int,
    *,
    fpn_channels: int = 256,
    anchor_sizes: Sequence[Sequence[float]] = ((32,), (64,), (128,), (256,), (512,)),
    mask_conv_dims: Sequence[int] = (256, 256, 256, 256),
    fc_dims: Sequence[int] = (1024, 1024),
    detections_per_image: int = 100,
    score_threshold: float = 0.05,
    pixel_mean: Sequence[float] = IMAGENET_MEAN,
    pixel_std: Sequence[float] = IMAGENET_STD,
) -> GeneralizedRCNN:
    """Mask R-CNN with a feature pyramid on any backbone that publishes ``out_features`` of strides 4, 8, 16, 32.

    Args:
        backbone: see :mod:`segkit.modeling.backbones`.
        num_classes: K, without the background.
        fpn_channels: width of the pyramid.
        anchor_sizes: sides in pixels, a list a level (five).
        mask_conv_dims: widths of the mask head's convolutions.
        fc_dims: widths of the box head's layers.
        detections_per_image: the most an image can have.
        score_threshold: detections below are dropped.
        pixel_mean: of each channel, for values in 0..1.
        pixel_std: likewise.
    """
    published: Mapping[str, FeatureSpec] = backbone.out_features  # type: ignore[assignment]
    neck = FPN(published, out_channels=fpn_channels)
    features = neck.out_features
    anchors = AnchorGenerator(features, sizes=anchor_sizes)
    rpn = RPN(features, anchor_generator=anchors, head=RPNHead(features, anchors.num_anchors))
    roi_heads = StandardROIHeads(
        features,
        num_classes,
        box_head=FastRCNNHead(features, num_classes, fc_dims=fc_dims),
        mask_head=FCNMaskHead(features, num_classes, conv_dims=mask_conv_dims),
        detections_per_image=detections_per_image,
        score_threshold=score_threshold,
    )
    return GeneralizedRCNN(
        num_classes,
        backbone=backbone,
        neck=neck,
        proposal_generator=rpn,
        roi_heads=roi_heads,
        pixel_mean=pixel_mean,
        pixel_std=pixel_std,
    )
