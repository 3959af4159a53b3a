"""Settings for given weights: of a segkit checkpoint, or of a classifier for the backbone."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from segkit.modeling.backbones import convnext, resnet
from segkit.modeling.weights.reading import checkpoint_content, named_tensors, names_torchvision_weights
from segkit.utils.errors import SegkitError

FINE_TUNING_RATE = 2e-4


@dataclass(frozen=True)
class Pretrained:
    """Weights to start from, and the model that they fit.

    Attributes:
        weights: path.
        model: the whole model's spec, of a segkit checkpoint; None: the weights are a backbone's.
        backbone: the backbone's spec, if ``model`` is None.
        reason: what they were recognised as.
        learning_rate: for AdamW.
    """

    weights: str
    model: dict[str, Any] | None
    backbone: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    learning_rate: float = FINE_TUNING_RATE

    def with_limits(self, detections: int, proposals: list[int], channels: int | None) -> dict[str, Any]:
        """The model with limits for other data.

        Raises:
            SegkitError: the images have another number of channels than the model.
        """
        assert self.model is not None
        model = copy.deepcopy(self.model)
        expected = len(model.get("pixel_mean") or [0, 0, 0])
        if expected != (channels or 3):
            raise SegkitError(
                f"--weights {self.weights}: the model takes {expected} channels, the images have {channels or 3}",
                key="train.init_weights",
                value=self.weights,
            )
        heads = model.get("roi_heads")
        if isinstance(heads, dict):
            heads["detections_per_image"] = detections
        generator = model.get("proposal_generator")
        if isinstance(generator, dict) and generator.get("name") == "RPN":
            generator["pre_nms_top_k"] = generator["post_nms_top_k"] = proposals
        return model


def recognize_weights(path: str) -> Pretrained:
    """Finds the model that weights fit.

    Args:
        path: a checkpoint of segkit, or the weights of a ResNet or ConvNeXt classifier by torchvision's names.
    Raises:
        SegkitError: the file cannot be read, or is of another kind.
    """
    if names_torchvision_weights(path):
        raise SegkitError(
            f"--weights {path}: a name of torchvision's detection models; train with one of their configurations instead "
            "(segkit config list), which take it as train.init_weights",
            key="train.init_weights",
            value=path,
        )
    if os.path.exists(path):
        path = os.path.abspath(path)  # so that the configuration works from any folder
    content = checkpoint_content(path)
    config = content.get("config")
    if isinstance(config, Mapping) and isinstance(config.get("model"), Mapping):
        classes = content.get("classes") or ()
        trained = f" It was trained on {', '.join(map(str, list(classes)[:5]))}." if classes else ""
        return Pretrained(path, dict(config["model"]), reason=f"The model of the given checkpoint.{trained}")
    state = named_tensors(content, path)
    spec = _resnet(state) or _convnext(state)
    if spec is None:
        raise SegkitError(
            f"--weights {path}: neither a checkpoint of segkit nor a ResNet or ConvNeXt classifier with torchvision's names; "
            f"its first tensors: {', '.join(list(state)[:3])}",
            key="train.init_weights",
            value=path,
        )
    reason = f"The given weights are those of a {spec['name']} ({spec['arch']})."
    return Pretrained(path, None, {**spec, "weights": path}, reason)


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    if "layer1.0.conv1.weight" not in state:
        return None
    depths = tuple(_count(state, f"layer{stage}.", 1) for stage in (1, 2, 3, 4))
    is_bottleneck = "layer1.0.conv3.weight" in state
    width = state["layer1.0.conv2.weight"].shape[0 if is_bottleneck else 1]
    for arch, (blocks, groups, channels) in resnet.ARCHS.items():
        bottleneck = arch not in (18, 34)
        if blocks == depths and bottleneck == is_bottleneck and groups * channels == width:
            per_group = state["layer1.0.conv2.weight"].shape[1]
            if not bottleneck or per_group == channels:
                return {"name": "ResNet", "arch": arch, "norm": "frozen_bn"}
    return None


def _convnext(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    stem = state.get("features.0.0.weight")
    if stem is None:
        return None
    depths = tuple(_count(state, f"features.{stage}.", 2) for stage in (1, 3, 5, 7))
    for arch, (widths, blocks) in convnext.ARCHS.items():
        if widths[0] == stem.shape[0] and tuple(blocks) == depths:
            return {"name": "ConvNeXt", "arch": arch}
    return None


def _count(state: Mapping[str, Tensor], prefix: str, position: int) -> int:
    """Number of different indices at a position of the dotted names that begin with ``prefix``."""
    return len({name.split(".")[position] for name in state if name.startswith(prefix)})
