"""Weights of torchvision's Faster and Mask R-CNN (ResNet-50-FPN), in the names and the order of classes used here.

torchvision has the background first; here it is last among the class logits, and has neither boxes nor masks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segkit.modeling.weights.torchvision_classification import download
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)

CONFIG = "segkit://coco/torchvision_mask_rcnn_r50_fpn.yaml"
# Its batch norms were trained with eps 0; torchvision changes its model for these files alone.
EPS_0_FILES = re.compile(r"(faster|mask|keypoint)rcnn_resnet50_fpn_coco-|RCNN_ResNet50_FPN_Weights\.(COCO|DEFAULT)")
EPS = 1e-5

# Patterns of torchvision's names and what they are called here. Names come in two generations: files keep the old ones.
RENAMES = [
    (r"backbone\.body\.(.+)", r"backbone.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"neck.lateral_convs.\1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"neck.output_convs.\1.\2"),
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.1\.(.+)", r"neck.lateral_convs.\1.1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.1\.(.+)", r"neck.output_convs.\1.1.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"proposal_generator.head.convs.0.\1"),
    (r"rpn\.head\.conv\.(\d+)\.0\.(weight|bias)", r"proposal_generator.head.convs.\1.\2"),
    (r"rpn\.head\.cls_logits\.(.+)", r"proposal_generator.head.objectness.\1"),
    (r"rpn\.head\.bbox_pred\.(.+)", r"proposal_generator.head.offsets.\1"),
    (r"roi_heads\.box_head\.fc6\.(.+)", r"roi_heads.box_head.fcs.0.\1"),
    (r"roi_heads\.box_head\.fc7\.(.+)", r"roi_heads.box_head.fcs.1.\1"),
    (r"roi_heads\.box_head\.5\.(.+)", r"roi_heads.box_head.fcs.0.\1"),  # the fifth, after four convolutions (v2)
    (r"roi_heads\.box_head\.(\d)\.([01])\.(.+)", r"roi_heads.box_head.convs.\1.\2.\3"),
    (r"roi_heads\.box_predictor\.cls_score\.(.+)", r"roi_heads.box_head.classifier.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.+)", r"roi_heads.box_head.offsets.\1"),
    (r"roi_heads\.mask_head\.(\d)\.0\.(.+)", r"roi_heads.mask_head.convs.\1.\2"),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(.+)", r"roi_heads.mask_head.upsample.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(.+)", r"roi_heads.mask_head.predictor.\1"),
]


def recognised(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the weights of one of torchvision's two-stage detectors."""
    return any(k.startswith("backbone.body.") for k in state) and any(k.startswith("rpn.head.") for k in state)


def named_state(name: str) -> tuple[dict[str, Tensor], list[str] | None]:
    """torchvision's weights by their full name, downloaded if need be."""
    from torchvision.models import detection, get_model_weights, get_weight, list_models

    try:
        weights = get_weight(name)
    except (ValueError, KeyError):
        enums = [get_model_weights(model) for model in list_models(detection) if "rcnn" in model]
        names = [f"{enum.__name__}.{member}" for enum in enums for member in enum.__members__]
        raise SegkitError(f"torchvision has no weights '{name}'{did_you_mean(name, names)}", value=name) from None
    state = download(weights)
    if not recognised(state):
        raise SegkitError(f"'{name}' is not of a detection model; it may be a backbone's 'weights'", value=name)
    return state, None


def convert(
    state: Mapping[str, Tensor], source: str, num_classes: int | None
) -> tuple[dict[str, Tensor], list[str] | None]:
    """Rename and permute torchvision's weights.

    Args:
        state: torchvision's.
        source: name or path they came from.
        num_classes: of our model. 80: of COCO's 90 numbers, those that are in use.
    Returns:
        the weights under our names (what has no counterpart keeps its name), and the class names if they are COCO's.
    """
    names = coco_names()
    keep: list[int] | None = None
    classes: list[str] | None = None
    if (bias := state.get("roi_heads.box_predictor.cls_score.bias")) is not None and len(bias) == len(names):
        keep = [i for i in range(1, len(names)) if num_classes != 80 or names[i] != "N/A"]
        # Where the 90 are all kept (to the letter as torchvision has them), or another number starts anew: no names to compare.
        classes = [names[i] for i in keep] if num_classes == 80 else None
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = rename(name)
        if new.startswith("roi_heads.box_head.classifier."):
            tensor = torch.cat([_foreground(tensor, keep), tensor[:1]])
        elif new.startswith("roi_heads.box_head.offsets."):
            tensor = _foreground(tensor.unflatten(0, (-1, 4)), keep).flatten(0, 1)
        elif new.startswith("roi_heads.mask_head.predictor."):
            tensor = _foreground(tensor, keep)
        converted[new] = tensor
    if any(name.startswith("neck.lateral_convs.0.1.") for name in converted):
        # With norms, a convolution of the neck is the first of two layers.
        converted = {re.sub(r"^(neck\.\w+\.\d+)\.(weight)$", r"\1.0.\2", k): v for k, v in converted.items()}
    if EPS_0_FILES.search(source):
        fold_eps(converted)
    return converted, classes


def rename(name: str) -> str:
    """Our name of a parameter of torchvision's."""
    name = re.sub(r"mask_fcn(\d)\.", lambda match: f"{int(match[1]) - 1}.0.", name)  # old names count from 1
    for pattern, replacement in RENAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def fold_eps(state: dict[str, Tensor]) -> None:
    """Make batch norms that were trained with eps 0 give the same with ``EPS``: the factor takes up the difference."""
    for name in [k for k in state if k.startswith("backbone.") and k.endswith("running_var")]:
        variance = state[name].double()
        weight = name.replace("running_var", "weight")
        state[weight] = (state[weight].double() * ((variance + EPS) / variance).sqrt()).to(state[weight].dtype)


def coco_names() -> list[str]:
    """COCO's 91 category numbers as torchvision has them: the background first, unused ones "N/A"."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    return list(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def check_arithmetic(model: nn.Module, source: str, strict: bool) -> None:
    """Compare the arguments that change what the weights mean with torchvision's.

    Raises:
        SegkitError: they differ and ``strict``; otherwise it is logged: training can make up for it.
    """
    from segkit.modeling.layers.roi_pooler import ROIPooler
    from segkit.modeling.necks.fpn import FPN
    from segkit.modeling.proposals.anchors import AnchorGenerator

    differences = []
    for name, module in model.named_modules():
        if isinstance(module, ROIPooler):
            if module.aligned:
                differences.append(f"{name.removesuffix('.pooler')}: aligned is true (torchvision: false)")
            if module.sampling_ratio != 2:
                differences.append(f"{name.removesuffix('.pooler')}: sampling_ratio is {module.sampling_ratio} (2)")
        elif isinstance(module, FPN) and module.top_block != "maxpool":
            differences.append(f"{name}: top_block is {module.top_block} (maxpool)")
        elif isinstance(module, AnchorGenerator):
            if any(not torch.equal(base, base.round()) for base in module.base):
                differences.append(f"{name}: rounded is false (true)")
            if not module.whole_strides:
                differences.append(f"{name}: whole_strides is false (true)")
            if module.offset != 0:
                differences.append(f"{name}: offset is {module.offset} (0)")
    if not differences:
        return
    message = f"'{source}' was trained with other arithmetic than this model's: {'; '.join(differences)}; see {CONFIG}"
    if strict:
        raise SegkitError(message, value=source)
    logger.warning("%s", message)


def _foreground(tensor: Tensor, keep: list[int] | None) -> Tensor:
    """Rows of the classes without the background; of COCO, those in ``keep``."""
    return tensor[1:] if keep is None else tensor[keep]
