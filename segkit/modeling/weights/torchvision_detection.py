"""Converts weights of torchvision's Faster and Mask R-CNN to segkit's names and class order.

torchvision has the background first; segkit has it last among the class logits, without boxes or masks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from segkit.modeling.weights.coco_names import coco_names
from segkit.modeling.weights.converted import Arithmetic, Converted, nest_convolutions, rename
from segkit.modeling.weights.pixels import IMAGENET_RGB
from segkit.modeling.weights.torchvision_classification import download
from segkit.utils.errors import SegkitError, did_you_mean

ARITHMETIC = Arithmetic(
    "torchvision",
    aligned=False,
    sampling_ratio=2,
    rounded=True,
    whole_strides=True,
    sizes_first=False,
    smooth_l1_beta=1 / 9,
)
# Files whose batch norms were trained with eps 0; torchvision changes its model for these only.
EPS_0_FILES = re.compile(r"(faster|mask|keypoint)rcnn_resnet50_fpn_coco-|RCNN_ResNet50_FPN_Weights\.(COCO|DEFAULT)")
EPS = 1e-5

# From torchvision's names, old (in files) and new, to segkit's.
RENAMES = [
    (r"backbone\.body\.(.+)", r"backbone.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"neck.lateral_convs.\1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"neck.output_convs.\1.\2"),
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.1\.(.+)", r"neck.lateral_convs.\1.1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.1\.(.+)", r"neck.output_convs.\1.1.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"proposal_generator.head.convs.0.\1"),
    (r"rpn\.head\.conv\.(\d+)\.0\.(weight|bias)", r"proposal_generator.head.convs.\1.\2"),
    (r"rpn\.head\.cls_logits\.(.+)", r"proposal_generator.head.objectness.\1"),
    (r"rpn\.head\.bbox_pred\.(.+)", r"proposal_generator.head.deltas.\1"),
    (r"roi_heads\.box_head\.fc6\.(.+)", r"roi_heads.box_head.fcs.0.\1"),
    (r"roi_heads\.box_head\.fc7\.(.+)", r"roi_heads.box_head.fcs.1.\1"),
    (r"roi_heads\.box_head\.5\.(.+)", r"roi_heads.box_head.fcs.0.\1"),  # the fifth, after four convolutions (v2)
    (r"roi_heads\.box_head\.(\d)\.([01])\.(.+)", r"roi_heads.box_head.convs.\1.\2.\3"),
    (r"roi_heads\.box_predictor\.cls_score\.(.+)", r"roi_heads.box_head.classifier.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.+)", r"roi_heads.box_head.deltas.\1"),
    (r"roi_heads\.mask_head\.(\d)\.0\.(.+)", r"roi_heads.mask_head.convs.\1.\2"),
    (r"roi_heads\.mask_head\.(\d)\.1\.(.+)", r"roi_heads.mask_head.convs.\1.1.\2"),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(.+)", r"roi_heads.mask_head.upsample.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(.+)", r"roi_heads.mask_head.predictor.\1"),
]


def recognised(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is that of a torchvision two-stage detector."""
    return any(k.startswith("backbone.body.") for k in state) and any(k.startswith("rpn.head.") for k in state)


def named_state(name: str) -> dict[str, Tensor]:
    """torchvision's weights by full name, as ``MaskRCNN_ResNet50_FPN_Weights.COCO_V1``."""
    from torchvision.models import detection, get_model_weights, get_weight, list_models

    try:
        weights = get_weight(name)
    except (ValueError, KeyError):
        enums = [get_model_weights(model) for model in list_models(detection) if "rcnn" in model]
        names = [f"{enum.__name__}.{member}" for enum in enums for member in enum.__members__]
        raise SegkitError(f"torchvision has no weights '{name}'{did_you_mean(name, names)}", value=name) from None
    return download(weights)


def convert(state: Mapping[str, Tensor], source: str, num_classes: int | None) -> Converted:
    """Renames torchvision's weights and reorders their classes.

    Args:
        state: by torchvision's names.
        source: name or path of the weights.
        num_classes: of the model. 80: only the category ids in use are taken from COCO's 90.
    """
    names = coco_names()
    keep: list[int] | None = None
    classes: list[str] | None = None
    if (bias := state.get("roi_heads.box_predictor.cls_score.bias")) is not None and len(bias) == len(names):
        keep = [i for i in range(1, len(names)) if num_classes != 80 or names[i] != "N/A"]
        # If all 90 are kept, as in torchvision, or the predictors are reinitialised, there are no names to compare.
        classes = [names[i] for i in keep] if num_classes == 80 else None
    dropped = f", {len(names) - 1 - len(keep)} unused classes dropped" if keep and len(keep) < len(names) - 1 else ""
    converted: dict[str, Tensor] = {}
    changed: dict[str, str] = {}
    for name, tensor in state.items():
        new = segkit_name(name)
        if new.startswith("roi_heads.box_head.classifier."):
            tensor = torch.cat([_foreground(tensor, keep), tensor[:1]])
            changed[new] = f"background moved from first to last{dropped}"
        elif new.startswith("roi_heads.box_head.deltas."):
            tensor = _foreground(tensor.unflatten(0, (-1, 4)), keep).flatten(0, 1)
            changed[new] = f"background removed{dropped}"
        elif new.startswith("roi_heads.mask_head.predictor."):
            tensor = _foreground(tensor, keep)
            changed[new] = f"background removed{dropped}"
        converted[new] = tensor
    converted = nest_convolutions(converted)
    if EPS_0_FILES.search(source):
        changed.update(dict.fromkeys(fold_eps(converted), "batch norm's eps from 0 to 1e-5"))
    return Converted(
        "torchvision",
        converted,
        classes,
        changed,
        arithmetic=ARITHMETIC,
        config=_config(converted),
        pixels=IMAGENET_RGB,
        stride_in_1x1=False,
    )


def segkit_name(name: str) -> str:
    """segkit's name of a torchvision parameter."""
    name = re.sub(r"mask_fcn(\d)\.", lambda match: f"{int(match[1]) - 1}.0.", name)  # old names count from 1
    return rename(name, RENAMES)


def fold_eps(state: dict[str, Tensor]) -> list[str]:
    """Adapts batch norms that were trained with eps 0 to ``EPS``; returns the changed names."""
    factors = []
    for name in [k for k in state if k.startswith("backbone.") and k.endswith("running_var")]:
        variance = state[name].double()
        weight = name.replace("running_var", "weight")
        state[weight] = (state[weight].double() * ((variance + EPS) / variance).sqrt()).to(state[weight].dtype)
        factors.append(weight)
    return factors


def _config(state: Mapping[str, Tensor]) -> str | None:
    """Path of the configuration for these weights; None: the backbone is no ResNet."""
    if "backbone.layer1.0.conv1.weight" not in state:
        return None
    kind = "mask" if any(name.startswith("roi_heads.mask_head.") for name in state) else "faster"
    second = "proposal_generator.head.convs.1.weight" in state
    return f"segkit://coco/torchvision_{kind}_rcnn_r50_fpn{'_v2' if second else ''}.yaml"


def _foreground(tensor: Tensor, keep: list[int] | None) -> Tensor:
    """Rows of the classes without the background; for COCO, those in ``keep``."""
    return tensor[1:] if keep is None else tensor[keep]
