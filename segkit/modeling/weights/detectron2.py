"""Converts Detectron2's weights: Faster and Mask R-CNN with FPN, and its pretrained ResNets.

The background is last in both frameworks. BGR input in 0..255 is folded into the stem, and batch norms without statistics
get neutral ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from segkit.modeling.weights.coco_names import coco_80
from segkit.modeling.weights.converted import Arithmetic, Converted, nest_convolutions, rename
from segkit.modeling.weights.pixels import IMAGENET_RGB, PixelFormat
from segkit.utils.errors import SegkitError

ARITHMETIC = Arithmetic(
    "Detectron2",
    aligned=True,
    sampling_ratio=0,
    rounded=False,
    whole_strides=False,
    sizes_first=True,
    smooth_l1_beta=0.0,
)
# Its defaults, for files without them. ResNets from Caffe have the standard deviation folded into their weights.
MEAN = (103.53, 116.28, 123.675)
STD_OF_RESNEXT = (57.375, 57.12, 58.395)
EPS = 1e-5

# From Caffe2's names of a ResNet to Detectron2's.
CAFFE2 = [
    (r"conv1_([wb])", r"stem.conv1.\1"),
    (r"res_conv1_bn_(\w+)", r"stem.conv1.norm.\1"),
    (r"res(\d)_(\d+)_branch(1|2[abc])_bn_(\w+)", r"res\1.\2.branch\3.norm.\4"),
    (r"res(\d)_(\d+)_branch(1|2[abc])_([wb])", r"res\1.\2.branch\3.\4"),
    (r"(?:fc1000|pred)_([wb])", r"fc.\1"),
]
CAFFE2_LAYERS = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
CAFFE2_TENSORS = {"w": "weight", "s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}

BACKBONE = [
    (r"stem\.conv1\.(weight|bias)", r"conv1.\1"),
    (r"stem\.conv1\.norm\.(.+)", r"bn1.\1"),
    (r"res(\d)\.(\d+)\.conv(\d)\.(weight|bias)", r"layer\1.\2.conv\3.\4"),
    (r"res(\d)\.(\d+)\.conv(\d)\.norm\.(.+)", r"layer\1.\2.bn\3.\4"),
    (r"res(\d)\.(\d+)\.shortcut\.(weight|bias)", r"layer\1.\2.downsample.0.\3"),
    (r"res(\d)\.(\d+)\.shortcut\.norm\.(.+)", r"layer\1.\2.downsample.1.\3"),
    (r"(?:stem\.)?(?:fc|fc1000|linear)\.(.+)", r"fc.\1"),
]
# <1-N> stands for N - 1: segkit counts from 0, Detectron2 counts layers from 1 and pyramid levels from 2.
HEADS = [
    (r"backbone\.fpn_(lateral|output)(\d)\.norm\.(.+)", r"neck.\1_convs.<2-\2>.1.\3"),
    (r"backbone\.fpn_(lateral|output)(\d)\.(.+)", r"neck.\1_convs.<2-\2>.\3"),
    (r"proposal_generator\.rpn_head\.conv\.(weight|bias)", r"proposal_generator.head.convs.0.\1"),
    (r"proposal_generator\.rpn_head\.conv\.conv(\d)\.(.+)", r"proposal_generator.head.convs.\1.\2"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(.+)", r"proposal_generator.head.objectness.\1"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(.+)", r"proposal_generator.head.deltas.\1"),
    (r"roi_heads\.box_head\.conv(\d)\.norm\.(.+)", r"roi_heads.box_head.convs.<1-\1>.1.\2"),
    (r"roi_heads\.box_head\.conv(\d)\.(.+)", r"roi_heads.box_head.convs.<1-\1>.0.\2"),
    (r"roi_heads\.box_head\.fc(\d)\.(.+)", r"roi_heads.box_head.fcs.<1-\1>.\2"),
    (r"roi_heads\.box_predictor\.cls_score\.(.+)", r"roi_heads.box_head.classifier.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.+)", r"roi_heads.box_head.deltas.\1"),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.norm\.(.+)", r"roi_heads.mask_head.convs.<1-\1>.1.\2"),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.(.+)", r"roi_heads.mask_head.convs.<1-\1>.\2"),
    (r"roi_heads\.mask_head\.deconv\.(.+)", r"roi_heads.mask_head.upsample.\1"),
]
ANCHORS = "proposal_generator.anchor_generator.cell_anchors."


def recognised(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is that of a Detectron2 two-stage detector."""
    return any(name.startswith(("backbone.bottom_up.", "backbone.res2.")) for name in state)


def recognised_backbone(state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` is that of a ResNet by Detectron2's or Caffe2's names."""
    return ("stem.conv1.weight" in state and "res2.0.conv1.weight" in state) or (
        "conv1_w" in state and "res2_0_branch2a_w" in state
    )


def convert(state: Mapping[str, Tensor], source: str, own: Collection[str], author: str) -> Converted:
    """A detector's weights by segkit's names.

    Args:
        state: by Detectron2's names.
        source: path of the file, for messages.
        own: names of the model's tensors.
        author: the file's ``__author__``, or "".
    """
    if not any(name.startswith("backbone.fpn_") for name in state):
        raise SegkitError(
            f"checkpoint '{source}' is a Detectron2 model without a feature pyramid (C4 or DC5), which segkit does not have; "
            "use one of the FPN models of its zoo",
            value=source,
        )
    trunk, heads = {}, {}
    for name, tensor in state.items():
        if name.startswith("backbone.bottom_up."):
            trunk[name.removeprefix("backbone.bottom_up.")] = tensor
        elif name not in ("pixel_mean", "pixel_std") and not name.startswith(ANCHORS):
            heads[_heads_name(name)] = tensor
    converted = convert_backbone(trunk, own, author, state.get("pixel_mean"), state.get("pixel_std"))
    converted.state = {**converted.state, **nest_convolutions(heads)}
    converted.kind, converted.arithmetic = "Detectron2", ARITHMETIC
    depth = 101 if "res4.22.conv1.weight" in trunk else 50
    kind = "mask" if any(name.startswith("roi_heads.mask_head.") for name in heads) else "faster"
    converted.config = f"segkit://coco/detectron2_{kind}_rcnn_r{depth}_fpn.yaml"
    scores = heads.get("roi_heads.box_head.classifier.bias")
    if author.startswith("Detectron2") and scores is not None and len(scores) == 81:
        converted.classes = coco_80()
    levels = sorted(int(name.removeprefix(ANCHORS)) for name in state if name.startswith(ANCHORS))
    converted.anchors = [state[f"{ANCHORS}{level}"] for level in levels] or None
    return converted


def convert_backbone(
    state: Mapping[str, Tensor],
    own: Collection[str],
    author: str,
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> Converted:
    """A ResNet's weights by segkit's names, which begin with ``backbone.``.

    Args:
        state: by Detectron2's or Caffe2's names.
        own: names of the model's tensors.
        author: the file's ``__author__``, or "".
        mean: [C, 1, 1], the file's mean of input in 0..255; None: it has none.
        std: the standard deviation, likewise.
    """
    named = {_caffe2_name(name): tensor for name, tensor in state.items() if not name.endswith("_momentum")}
    pixels = _pixels(named, author, mean, std)
    renamed = {f"backbone.{_backbone_name(name)}": tensor for name, tensor in named.items()}
    # Convolutions before a norm have no bias. Caffe's files contain some, which Detectron2 ignores too.
    renamed = {
        name: tensor for name, tensor in renamed.items() if not re.fullmatch(r".*(conv\d|downsample\.0)\.bias", name)
    }
    folded = add_statistics(renamed, own)
    return Converted(
        "backbone",
        renamed,
        pixels=pixels,
        # Only ResNets from Caffe have no standard deviation, and only they have the stride in the 1x1 convolution.
        stride_in_1x1=all(value == 1 for value in pixels.std),
        folded_norms=folded,
    )


def add_statistics(state: dict[str, Tensor], own: Collection[str]) -> bool:
    """Adds neutral statistics to batch norms that have none; returns whether there were any."""
    found = False
    for name in own:
        prefix, _, last = name.rpartition(".")
        if last == "running_mean" and name not in state and (factor := state.get(f"{prefix}.weight")) is not None:
            state[name] = torch.zeros_like(factor)
            state[f"{prefix}.running_var"] = torch.ones_like(factor) - EPS
            found = True
    return found


def _pixels(state: Mapping[str, Tensor], author: str, mean: Tensor | None, std: Tensor | None) -> PixelFormat:
    """Pixel format of the stem: the file's, else Detectron2's default for the network."""
    if author == "torchvision":
        return IMAGENET_RGB
    means = MEAN if mean is None else tuple(round(value, 3) for value in mean.flatten().tolist())
    if std is not None:
        deviations = tuple(round(value, 3) for value in std.flatten().tolist())
    else:
        middle = state.get("res2.0.conv2.weight")
        grouped = middle is not None and middle.shape[0] != middle.shape[1]  # a ResNeXt
        deviations = STD_OF_RESNEXT if grouped else (1.0,) * len(means)
    # Red has the largest mean of the three, which shows their order.
    return PixelFormat(means, deviations, bgr=means[0] <= means[-1])


def _caffe2_name(name: str) -> str:
    """Detectron2's name of a Caffe2 tensor; other names stay as they are."""
    new = rename(name, CAFFE2)
    if new == name:
        return name
    layer, _, tensor = new.rpartition(".")
    layer = re.sub(r"branch\w+", lambda match: CAFFE2_LAYERS[match[0]], layer)
    return f"{layer}.{CAFFE2_TENSORS.get(tensor, tensor)}"


def _backbone_name(name: str) -> str:
    name = rename(name, BACKBONE)
    return re.sub(r"^layer(\d)", lambda match: f"layer{int(match[1]) - 1}", name)  # res2 is the first


def _heads_name(name: str) -> str:
    return re.sub(r"<(\d)-(\d)>", lambda match: str(int(match[2]) - int(match[1])), rename(name, HEADS))
