"""A file with Detectron2's names and layout, its weights random. Heads are narrow, to be quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))  # for detectron2_files.py

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
WIDTH = 16  # of the pyramid, the box head and the mask head
CLASSES = 3
# What makes our configurations of Detectron2's models as narrow.
NARROW = [
    f"model.neck.out_channels={WIDTH}",
    f"model.roi_heads.box_head.fc_dims=[{WIDTH}, {WIDTH}]",
]
NARROW_MASKS = [*NARROW, f"model.roi_heads.mask_head.conv_dims={[WIDTH] * 4}"]


def resnet(depth: int, statistics: bool = True) -> dict[str, Tensor]:
    """Weights of a ResNet by Detectron2's names, for BGR in 0..255 without a deviation."""
    state: dict[str, Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, size: int, factor: float = 1.0) -> None:
        std = (2 / (inputs * size * size)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, size, size) * std
        state[f"{name}.norm.weight"] = (torch.rand(outputs) * 0.4 + 0.8) * factor
        state[f"{name}.norm.bias"] = torch.randn(outputs) * 0.1
        if statistics:
            state[f"{name}.norm.running_mean"] = torch.randn(outputs) * 0.2
            state[f"{name}.norm.running_var"] = torch.rand(outputs) * 1.5 + 0.5

    convolution("stem.conv1", 64, 3, 7)
    state["stem.conv1.weight"] /= 57
    inputs = 64
    for stage, blocks in enumerate(BLOCKS[depth], start=2):
        width = 64 << (stage - 2)
        for block in range(blocks):
            name = f"res{stage}.{block}"
            if block == 0:
                convolution(f"{name}.shortcut", 4 * width, inputs, 1)
            convolution(f"{name}.conv1", width, inputs, 1)
            convolution(f"{name}.conv2", width, width, 3)
            convolution(f"{name}.conv3", 4 * width, width, 1, factor=0.3)
            inputs = 4 * width
    return state


def detector(classes: int = CLASSES, masks: bool = True, depth: int = 50) -> dict[str, Tensor]:
    """Weights of a detector on a feature pyramid by Detectron2's names, as its files hold them."""
    state = {f"backbone.bottom_up.{name}": tensor for name, tensor in resnet(depth).items()}

    def layer(name: str, *shape: int, std: float | None = None, outputs: int | None = None) -> None:
        std = (2 / torch.Size(shape[1:]).numel()) ** 0.5 if std is None else std
        state[f"{name}.weight"] = torch.randn(shape) * std
        state[f"{name}.bias"] = torch.randn(outputs or shape[0]) * 0.1

    for stage in range(2, 6):
        layer(f"backbone.fpn_lateral{stage}", WIDTH, 256 << (stage - 2), 1, 1)
        layer(f"backbone.fpn_output{stage}", WIDTH, WIDTH, 3, 3)
    layer("proposal_generator.rpn_head.conv", WIDTH, WIDTH, 3, 3)
    layer("proposal_generator.rpn_head.objectness_logits", 3, WIDTH, 1, 1, std=0.5)
    layer("proposal_generator.rpn_head.anchor_deltas", 12, WIDTH, 1, 1, std=0.01)
    layer("roi_heads.box_head.fc1", WIDTH, WIDTH * 49)
    layer("roi_heads.box_head.fc2", WIDTH, WIDTH)
    layer("roi_heads.box_predictor.cls_score", classes + 1, WIDTH, std=0.1)
    layer("roi_heads.box_predictor.bbox_pred", 4 * classes, WIDTH, std=0.03)
    if masks:
        for i in range(1, 5):
            layer(f"roi_heads.mask_head.mask_fcn{i}", WIDTH, WIDTH, 3, 3)
        layer("roi_heads.mask_head.deconv", WIDTH, WIDTH, 2, 2)
        layer("roi_heads.mask_head.predictor", classes, WIDTH, 1, 1)
    return state


@pytest.fixture(scope="session")
def detectron2_state() -> dict[str, Tensor]:
    torch.manual_seed(11)
    return detector()


@pytest.fixture(scope="session")
def detectron2_resnet() -> Callable[..., dict[str, Tensor]]:
    return resnet


@pytest.fixture(scope="session")
def detectron2_detector() -> Callable[..., dict[str, Tensor]]:
    return detector


@pytest.fixture(scope="session")
def narrow() -> dict[str, list[str]]:
    """Overrides by kind of configuration: ``mask`` or ``faster``."""
    return {"mask": NARROW_MASKS, "faster": NARROW}
