"""Recognises the framework of a weight file by its content, and converts the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from segkit.modeling.weights import detectron2, torchvision_detection
from segkit.modeling.weights.converted import Converted
from segkit.modeling.weights.reading import checkpoint_content, named_tensors, names_torchvision_weights


def read_weights(
    path: str, own: Mapping[str, Tensor], num_classes: int | None, content: Mapping[str, Any] | None = None
) -> Converted:
    """Weights of any framework by segkit's names.

    Args:
        path: a path, URL or ``segkit://`` path, or a torchvision name such as ``ResNet50_Weights.IMAGENET1K_V1``.
        own: the model's tensors.
        num_classes: of the model.
        content: of the file, if it has been read before (see ``checkpoint_content``).
    Raises:
        SegkitError: they cannot be read.
    """
    if content is None:
        content = checkpoint_content(path)
    if names_torchvision_weights(path):
        state = torchvision_detection.named_state(path)
    else:
        state = named_tensors(content, path)
    author = str(content.get("__author__", ""))
    if torchvision_detection.recognised(state):
        return torchvision_detection.convert(state, path, num_classes)
    if detectron2.recognised(state):
        return detectron2.convert(state, path, own, author)
    if detectron2.recognised_backbone(state):
        return detectron2.convert_backbone(state, own, author)
    of_backbone = {f"backbone.{name}": tensor for name, tensor in state.items()}
    if own.keys().isdisjoint(state) and not own.keys().isdisjoint(of_backbone):
        # torchvision's classifiers have a bottleneck's stride in the 3x3 convolution; other files' is unknown.
        classifier = "backbone.fc.weight" in of_backbone and "backbone.layer1.0.conv3.weight" in of_backbone
        return Converted("backbone", of_backbone, stride_in_1x1=False if classifier else None)
    return Converted("segkit", _with_present_names(state, own), _class_names(content))


def _with_present_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a segkit checkpoint by current names; see ``layers/state_names.py``."""
    present = {name: name.replace(".offsets.", ".deltas.") for name in state}
    return {present[name] if name not in own and present[name] in own else name: state[name] for name in state}


def _class_names(content: Mapping[str, Any]) -> list[str] | None:
    classes = content.get("classes")
    return [str(name) for name in classes] if isinstance(classes, (list, tuple)) else None
