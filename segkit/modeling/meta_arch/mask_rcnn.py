"""Builds a Mask R-CNN without a configuration, as segkit's, torchvision's or Detectron2's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, get_args

from torch import nn

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from segkit.modeling.meta_arch.generalized_rcnn import GeneralizedRCNN
from segkit.modeling.necks.fpn import FPN
from segkit.modeling.proposals import RPN, AnchorGenerator, RPNHead
from segkit.modeling.roi_heads import FastRCNNHead, FCNMaskHead, StandardROIHeads
from segkit.utils.components.signature import signature_of
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.renamed_arguments import new_name

ArithmeticName = Literal["segkit", "torchvision", "torchvision_v2", "detectron2"]
Arguments = Mapping[str, Mapping[str, Any]]  # of each part

PARTS: dict[str, type[nn.Module]] = {
    "neck": FPN,
    "anchor_generator": AnchorGenerator,
    "rpn_head": RPNHead,
    "rpn": RPN,
    "box_head": FastRCNNHead,
    "mask_head": FCNMaskHead,
    "roi_heads": StandardROIHeads,
}
# Arguments other than segkit's defaults, as in configs/coco/{torchvision,detectron2}_mask_rcnn_*.yaml.
TORCHVISION: Arguments = {
    "anchor_generator": {"rounded": True, "whole_strides": True},
    "rpn": {
        "pre_nms_top_k": (2000, 1000),
        "post_nms_top_k": (2000, 1000),
        "min_size": 1e-3,
        "smooth_l1_beta": 1 / 9,
    },
    "box_head": {"aligned": False, "smooth_l1_beta": 1 / 9},
    "mask_head": {"aligned": False},
    "roi_heads": {"min_size": 1e-2},
}
ARITHMETIC: dict[str, Sequence[Arguments]] = {
    "segkit": (),
    "torchvision": (TORCHVISION,),
    "torchvision_v2": (
        TORCHVISION,
        {
            "neck": {"norm": "bn"},
            "rpn_head": {"conv_depth": 2},
            "box_head": {"conv_dims": (256, 256, 256, 256), "fc_dims": (1024,)},
            "mask_head": {"norm": "bn"},
        },
    ),
    "detectron2": (
        {
            "anchor_generator": {"rounded": False, "whole_strides": False, "offset": 0.0},
            "rpn": {"pre_nms_top_k": (2000, 1000), "post_nms_top_k": (1000, 1000), "smooth_l1_beta": 0.0},
            "box_head": {"aligned": True, "sampling_ratio": 0, "smooth_l1_beta": 0.0},
            "mask_head": {"aligned": True, "sampling_ratio": 0},
        },
    ),
}


def mask_rcnn(
    backbone: nn.Module,
    num_classes: int,
    *,
    arithmetic: ArithmeticName = "segkit",
    fpn_channels: int = 256,
    anchor_sizes: Sequence[Sequence[float]] = ((32,), (64,), (128,), (256,), (512,)),
    mask_conv_dims: Sequence[int] = (256, 256, 256, 256),
    fc_dims: Sequence[int] | None = None,
    detections_per_image: int = 100,
    score_threshold: float = 0.05,
    pixel_mean: Sequence[float] = IMAGENET_MEAN,
    pixel_std: Sequence[float] = IMAGENET_STD,
    parts: Arguments | None = None,
) -> GeneralizedRCNN:
    """Builds a Mask R-CNN with FPN on any backbone with maps of strides 4, 8, 16 and 32.

    The backbone's own arithmetic is chosen where it is built. With these, the others' weights yield their detections (for
    training, both of them have ``trainable_stages=3``):

    - torchvision's ``maskrcnn_resnet50_fpn``: ``ResNet(arch=50, norm="frozen_bn")``;
    - torchvision's ``maskrcnn_resnet50_fpn_v2``: ``ResNet(arch=50, norm="bn")``;
    - Detectron2's ``mask_rcnn_R_50_FPN``: ``ResNet(arch=50, norm="frozen_bn", stride_in_1x1=True)``.

    >>> model = mask_rcnn(ResNet(arch=50, norm="frozen_bn"), 80, arithmetic="torchvision")
    >>> load_checkpoint(model, "MaskRCNN_ResNet50_FPN_Weights.COCO_V1")

    Args:
        backbone: publishes ``out_features``, see :mod:`segkit.modeling.backbones`.
        num_classes: K, without the background.
        arithmetic: whose anchors, RoIAlign, box losses and limits: ``segkit``, ``torchvision`` (the first version),
            ``torchvision_v2`` (norms, and deeper heads) or ``detectron2``.
        fpn_channels: channels of the pyramid.
        anchor_sizes: sides in pixels, a list a level (five).
        mask_conv_dims: channels of the mask head's convolutions.
        fc_dims: widths of the box head's layers; None: two of 1024, in ``torchvision_v2`` one.
        detections_per_image: the most an image can have.
        score_threshold: detections below it are dropped.
        pixel_mean: of each channel, for pixels in 0..1.
        pixel_std: standard deviation of each channel, for pixels in 0..1.
        parts: further arguments of each part, which override all others: ``{"box_head": {"sampling_ratio": 0}}``. The
            parts are ``neck``, ``anchor_generator``, ``rpn_head``, ``rpn``, ``box_head``, ``mask_head``, ``roi_heads``.
    Raises:
        SegkitError: an unknown arithmetic, part or argument, or a value out of its range.
    """
    if arithmetic not in ARITHMETIC:
        raise SegkitError(
            f"arithmetic is {arithmetic!r}{did_you_mean(str(arithmetic), get_args(ArithmeticName))}",
            key="arithmetic", value=arithmetic, choices=get_args(ArithmeticName),
        )  # fmt: skip
    _check_inputs(backbone, num_classes, anchor_sizes)
    common: Arguments = {
        "neck": {"out_channels": fpn_channels},
        "anchor_generator": {"sizes": anchor_sizes},
        "mask_head": {"conv_dims": mask_conv_dims},
        "roi_heads": {"detections_per_image": detections_per_image, "score_threshold": score_threshold},
    }
    widths: Arguments = {} if fc_dims is None else {"box_head": {"fc_dims": fc_dims}}
    options = _merged([*ARITHMETIC[arithmetic], common, widths, parts or {}])

    published: Mapping[str, FeatureSpec] = backbone.out_features  # type: ignore[assignment]
    neck = FPN(published, **options["neck"])
    features = neck.out_features
    anchors = AnchorGenerator(features, **options["anchor_generator"])
    head = RPNHead(features, anchors.num_anchors, **options["rpn_head"])
    box_head = FastRCNNHead(features, num_classes, **options["box_head"])
    mask_head = FCNMaskHead(features, num_classes, **options["mask_head"])
    return GeneralizedRCNN(
        num_classes,
        backbone=backbone,
        neck=neck,
        proposal_generator=RPN(features, anchor_generator=anchors, head=head, **options["rpn"]),
        roi_heads=StandardROIHeads(
            features, num_classes, box_head=box_head, mask_head=mask_head, **options["roi_heads"]
        ),
        pixel_mean=pixel_mean,
        pixel_std=pixel_std,
    )


def _check_inputs(backbone: object, num_classes: object, anchor_sizes: object) -> None:
    """SegkitError for mistakes that would be errors of Python inside the parts."""
    if not hasattr(backbone, "out_features"):
        raise SegkitError(
            f"backbone: a {type(backbone).__name__} has no out_features; expected one of segkit's, as "
            "segkit.modeling.ResNet(arch=50), or a module with out_features, a FeatureSpec for each map",
            key="backbone",
        )
    if isinstance(num_classes, bool) or not isinstance(num_classes, Integral) or num_classes < 1:
        raise SegkitError(
            f"num_classes is {num_classes!r}; expected a number from 1 on, without the background",
            key="num_classes", value=num_classes,
        )  # fmt: skip
    if not isinstance(anchor_sizes, Iterable) or any(isinstance(sizes, Real) for sizes in anchor_sizes):
        raise SegkitError(
            f"anchor_sizes is {anchor_sizes!r}; expected a list of sizes for each level, as ((32,), (64,))",
            key="anchor_sizes", value=anchor_sizes,
        )  # fmt: skip


def _merged(layers: Sequence[Arguments]) -> dict[str, dict[str, Any]]:
    """Merges the arguments of each part, later layers over earlier ones; SegkitError for an unknown name."""
    merged: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for layer in layers:
        if not isinstance(layer, Mapping) or not all(isinstance(arguments, Mapping) for arguments in layer.values()):
            raise SegkitError(
                f"parts is {layer!r}; expected a dictionary of arguments for each part, as {{'rpn': {{'min_size': 4}}}}",
                key="parts",
            )
        for part, arguments in layer.items():
            if part not in PARTS:
                raise SegkitError(f"parts: there is no '{part}'{did_you_mean(part, PARTS)}", key="parts", choices=PARTS)
            signature = signature_of(PARTS[part])
            known = [name for name in signature.options if name not in signature.slots]
            if unknown := [name for name in arguments if name not in known]:
                new = new_name(unknown[0], known)
                hint = did_you_mean(unknown[0], known) if new is None else f"; did you mean '{new}'?"
                raise SegkitError(
                    f"parts['{part}']: {PARTS[part].__name__} has no argument '{unknown[0]}'{hint}",
                    key="parts", choices=known,
                )  # fmt: skip
            merged[part].update(arguments)
    return merged
