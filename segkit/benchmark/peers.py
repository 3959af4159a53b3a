"""Builds torchvision's Mask R-CNN as close as possible to a configuration's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection import faster_rcnn, mask_rcnn, rpn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from segkit.modeling.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from segkit.modeling.layers.roi_pooler import ROIPooler
from segkit.modeling.necks.fpn import FPN
from segkit.modeling.proposals import RPN, RPNHead
from segkit.modeling.roi_heads import FastRCNNHead, FCNMaskHead, StandardROIHeads

# torchvision's classifier with the same parameter names.
CLASSIFIERS = {
    "ResNet": "resnet{arch}",
    "ConvNeXt": "convnext_{arch}",
    "EfficientNetV2": "efficientnet_v2_{arch}",
}
DEFAULT_ARCHS = {"ResNet": 50, "ConvNeXt": "tiny", "EfficientNetV2": "s"}
NORMS = {None: None, "bn": nn.BatchNorm2d, "frozen_bn": FrozenBatchNorm2d}
# torchvision's names of the losses.
LOSSES = {
    "rpn_cls": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "cls": "loss_classifier",
    "box": "loss_box_reg",
    "mask": "loss_mask",
}


class NoPeer(Exception):
    """torchvision has no equivalent model; the message says why."""


def make_peer(model: Any, spec: Mapping[str, Any], size: tuple[int, int]) -> nn.Module:
    """torchvision's ``MaskRCNN`` with the sizes, limits and thresholds of ``model``.

    Its arithmetic stays torchvision's (anchors, RoIAlign, box losses), and so do its random values.

    Args:
        model: segkit's, as built from ``spec``.
        spec: ``cfg.model``.
        size: (height, width) of the images, which torchvision is set not to resize.
    Raises:
        NoPeer: torchvision has no such model.
    """
    heads, proposals = model.roi_heads, model.proposal_generator
    for part, kinds in (
        (model.neck, FPN),
        (proposals, RPN),
        (getattr(proposals, "head", None), RPNHead),
        (heads, StandardROIHeads),
        (getattr(heads, "box_head", None), FastRCNNHead),
        (getattr(heads, "mask_head", None), FCNMaskHead),
    ):
        if type(part) is not kinds:
            raise NoPeer(f"its MaskRCNN has a {kinds.__name__}, this model a {type(part).__name__}")
    if heads.box_head.class_agnostic or heads.mask_head.class_agnostic:
        raise NoPeer("it has no class-agnostic heads")
    backbone = make_backbone(model, spec["backbone"], spec["neck"])
    channels = backbone.out_channels
    anchors = spec["proposal_generator"]["anchor_generator"]
    sizes = anchors.get("sizes", [[32], [64], [128], [256], [512]])
    levels = len(model.neck.out_features)
    ratios = tuple(anchors.get("aspect_ratios", (0.5, 1.0, 2.0)))
    generator = rpn.AnchorGenerator(
        tuple(map(tuple, sizes if len(sizes) == levels else [*sizes] * levels)), (ratios,) * levels
    )
    depth = len(proposals.head.convs)
    box_head, width = make_box_head(heads.box_head, channels)
    mask_widths = [conv.out_channels for conv in heads.mask_head.convs]
    return detection.MaskRCNN(
        backbone,
        min_size=min(size),
        max_size=max(size),
        image_mean=list(spec.get("pixel_mean", IMAGENET_MEAN)),
        image_std=list(spec.get("pixel_std", IMAGENET_STD)),
        rpn_anchor_generator=generator,
        rpn_head=rpn.RPNHead(channels, generator.num_anchors_per_location()[0], depth),
        rpn_pre_nms_top_n_train=proposals.pre_nms_top_k[0],
        rpn_pre_nms_top_n_test=proposals.pre_nms_top_k[1],
        rpn_post_nms_top_n_train=proposals.post_nms_top_k[0],
        rpn_post_nms_top_n_test=proposals.post_nms_top_k[1],
        rpn_nms_thresh=proposals.nms_threshold,
        rpn_fg_iou_thresh=proposals.fg_iou_threshold,
        rpn_bg_iou_thresh=proposals.bg_iou_threshold,
        rpn_batch_size_per_image=proposals.batch_size_per_image,
        rpn_positive_fraction=proposals.positive_fraction,
        box_roi_pool=make_pooler(model, heads.box_head.pooler),
        box_head=box_head,
        box_predictor=faster_rcnn.FastRCNNPredictor(width, model.num_classes + 1),
        box_score_thresh=heads.score_threshold,
        box_nms_thresh=heads.nms_threshold,
        box_detections_per_img=heads.detections_per_image,
        box_fg_iou_thresh=heads.fg_iou_threshold,
        box_bg_iou_thresh=heads.fg_iou_threshold,
        box_batch_size_per_image=heads.batch_size_per_image,
        box_positive_fraction=heads.positive_fraction,
        bbox_reg_weights=tuple(heads.box_head.box_weights),
        mask_roi_pool=make_pooler(model, heads.mask_head.pooler),
        mask_head=mask_rcnn.MaskRCNNHeads(channels, mask_widths, 1),
        mask_predictor=mask_rcnn.MaskRCNNPredictor(mask_widths[-1], mask_widths[-1], model.num_classes + 1),
    )


def make_backbone(model: Any, spec: Mapping[str, Any], neck: Mapping[str, Any]) -> BackboneWithFPN:
    """torchvision's classifier without its head, with torchvision's FPN; the same layers train."""
    if spec["name"] not in CLASSIFIERS:
        raise NoPeer(f"it has no {spec['name']}")
    norm = spec.get("norm", "bn")
    norms = [norm, neck.get("norm")]
    if not all(isinstance(n, str | None) and n in NORMS for n in norms) or (
        norm != "bn" and spec["name"] == "EfficientNetV2"
    ):
        raise NoPeer(f"its {spec['name']}-FPN cannot have the norms {norm} and {neck.get('norm')}")
    if model.neck.top_block != "maxpool":
        raise NoPeer(f"its Mask R-CNN has no top_block {model.neck.top_block}")
    net = make_classifier(spec, norm)
    own = dict(model.backbone.named_parameters())
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in own and own[name].requires_grad)
    layers = {}
    for i, stage in enumerate(model.backbone.out_features):
        path = model.backbone.stage_paths[int(stage.removeprefix("stage"))][-1]
        layers[path.removeprefix("features.")] = str(i)
    channels = [feature.channels for feature in model.backbone.out_features.values()]
    width = next(iter(model.neck.out_features.values())).channels
    body = net.features if hasattr(net, "features") else net
    return BackboneWithFPN(body, layers, channels, width, norm_layer=NORMS[neck.get("norm")])


def make_classifier(spec: Mapping[str, Any], norm: str) -> Any:
    """torchvision's classifier of a backbone's spec, with random weights."""
    name = spec["name"]
    arch = spec.get("arch", DEFAULT_ARCHS[name])
    classifier = CLASSIFIERS[name].format(arch=arch)
    if name == "ResNet":
        arguments: dict[str, Any] = {"norm_layer": NORMS[norm]}
    else:
        arguments = {"stochastic_depth_prob": spec.get("drop_path", 0.0 if name == "ConvNeXt" else 0.2)}
    for candidate in (classifier, str(arch)):  # ResNeXt and Wide ResNet have full names
        if candidate in torchvision.models.list_models():
            return torchvision.models.get_model(candidate, weights=None, **arguments)
    raise NoPeer(f"it has no {classifier}")


def make_pooler(model: Any, pooler: ROIPooler) -> MultiScaleRoIAlign:
    """torchvision's RoIAlign over the same levels."""
    names = list(model.neck.out_features)
    levels = [str(names.index(level)) for level in pooler.levels]
    return MultiScaleRoIAlign(levels, pooler.resolution, pooler.sampling_ratio)


def make_box_head(head: Any, channels: int) -> tuple[nn.Module, int]:
    """torchvision's box head with the same layers, and its width."""
    fcs = [fc.out_features for fc in head.fcs]
    resolution = head.pooler.resolution
    convs = [block[0].out_channels for block in head.convs]
    if not convs and len(fcs) == 2 and fcs[0] == fcs[1]:
        return faster_rcnn.TwoMLPHead(channels * resolution**2, fcs[0]), fcs[0]
    if not convs:
        raise NoPeer(f"its box head has two layers of one width, not {fcs}")
    shape = (channels, resolution, resolution)
    return faster_rcnn.FastRCNNConvFCHead(shape, convs, fcs, norm_layer=nn.BatchNorm2d), fcs[-1]


def state_to_load(peer: nn.Module) -> dict[str, Tensor]:
    """The peer's weights by the names in torchvision's files, for ``load_checkpoint``.

    torchvision removes ``features.`` from a classifier's names; segkit's backbones keep it.
    """
    features = any(name.startswith("backbone.body.0.") for name in peer.state_dict())
    prefix = "backbone.body."
    return {
        name.replace(prefix, f"{prefix}features.", 1) if features else name: tensor
        for name, tensor in peer.state_dict().items()
    }
