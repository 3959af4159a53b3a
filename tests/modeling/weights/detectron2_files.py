"""Files and models of Detectron2 for the tests."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

import segkit
from segkit.modeling.weights.loading import skip_pretrained

K = 3
ZOO = "Detectron2 Model Zoo"
CONFIG = "segkit://coco/detectron2_mask_rcnn_r50_fpn.yaml"


def build(narrow, num_classes: int = K, *overrides: str, config: str = CONFIG) -> nn.Module:
    with skip_pretrained():
        return segkit.build_model(segkit.load_config(config, [*narrow, *overrides]), num_classes).eval()


def write(path: Path, state: dict[str, Tensor], **more: object) -> str:
    """As the zoo does for ``.pkl``, as Detectron2's trainer does for ``.pth``."""
    if path.suffix == ".pkl":
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, **more}, protocol=4))
    else:
        torch.save({"model": state, "iteration": 89999, **more}, path)
    return str(path)
