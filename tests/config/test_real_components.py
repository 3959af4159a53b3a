"""The schema against the components that come with segkit."""

from __future__ import annotations

import pytest

from segkit.config import load_config
from segkit.config.detectron2_names import DETECTRON2_NAMES
from segkit.config.schema import Config
from segkit.config.specs import section_fields, section_of
from segkit.config.suggestions import known_keys
from segkit.utils.errors import SegkitError


@pytest.fixture(autouse=True)
def components():
    """In place of the conftest's: the registries as they are."""


def test_defaults_fit_the_components(write):
    text = "_BASE_: segkit://_base_/mask_rcnn_fpn.yaml\nmodel: {backbone: {name: TinyNet}}\n"
    cfg = load_config(write("run.yaml", text + "data: {train: {format: synthetic}}\n"))
    assert cfg.solver.optimizer.name == "AdamW" and cfg.data.train_transforms
    write("saved.yaml", cfg.to_yaml())
    assert load_config("saved.yaml") == cfg


def test_detectron2_names_lead_to_keys_that_exist():
    words = ["model.backbone={name: ResNet}", "solver.optimizer={name: SGD, lr: 0.1}"]
    known: set[str] = set()
    for schedule in ("MultiStep", "Cosine"):
        cfg = load_config("segkit://quickstart.yaml", [*words, f"solver.schedule={{name: {schedule}}}"])
        known |= known_keys(Config, cfg._tree(), section_fields, section_of)
    missing = {old: new for old, new in DETECTRON2_NAMES.items() if new not in known and not new.startswith(";")}
    assert not missing


@pytest.mark.parametrize("backbone", [
    "{name: ResNet, arch: 50}",
    "{name: ResNet, arch: resnext50_32x4d, norm: sync_bn, in_channels: 1}",
    "{name: TorchvisionBackbone, arch: mobilenet_v3_small, gradient_checkpointing: true}",
])  # fmt: skip
def test_backbones_fit_the_schema(backbone):
    cfg = load_config("segkit://quickstart.yaml", [f"model.backbone={backbone}"])
    assert cfg.model.backbone.name in backbone


def test_a_choice_of_numbers_and_words():
    with pytest.raises(SegkitError, match="did you mean 'wide_resnet50_2'"):
        load_config("segkit://quickstart.yaml", ["model.backbone={name: ResNet, arch: wideresnet50_2}"])
