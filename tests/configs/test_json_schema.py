"""The shipped JSON schema: current, and of one mind with the loader on what is a configuration."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import segkit
from segkit.cli.shipped import MODELINE, shipped_configs
from segkit.config.json_schema import schema_text
from segkit.config.yaml_reader import read_yaml
from segkit.registry import ALL_REGISTRIES

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
FILES = sorted(
    path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml") if not path.name.startswith("study")
)
SCHEMA = json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def mistakes(text: str) -> list[str]:
    """What the schema says about a file's text, as ``path: message``."""
    plain = read_yaml(text, "file").plain()
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(plain)]


def test_it_is_current(monkeypatch):
    """Other tests register components, which are not in it."""
    for registry in ALL_REGISTRIES:
        registry.names()  # loads its home
        own = {name: made for name, made in registry._obj_map.items() if made.__module__.startswith("segkit.")}
        monkeypatch.setattr(registry, "_obj_map", own)
    shipped = (CONFIGS / "schema.json").read_text(encoding="utf-8")
    assert schema_text() == shipped, "arguments changed: segkit config schema --output configs/schema.json"


def test_it_is_a_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    texts = json.dumps(SCHEMA)
    assert "``" not in texts and ":class:" not in texts
    for name in SCHEMA["definitions"]:
        assert f"#/definitions/{name}" in texts, f"{name} is used nowhere"


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_name_it_and_are_valid(name):
    path = CONFIGS / name
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith(f"{MODELINE} $schema=")
    assert (path.parent / first.partition("$schema=")[2]).resolve() == CONFIGS / "schema.json"
    assert not mistakes(text)


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_complete_configurations_are_valid(name):
    assert not mistakes(segkit.load_config(f"segkit://{name}.yaml").to_yaml())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train:\n  # epochs: 3\n",
        "train: {epochs: null, iterations: 3}",
        "_BASE_: [a.yaml, segkit://b.yaml]\nimports: [mine]",
        "model: {backbone: {trainable_stages: 2}, roi_heads: {box_head: {aligned: false}, mask_head: null}}",
        "model: {name: MyModel, anything: {name: x}}",
        "model: {backbone: {name: MyBackbone, depth: [1, 2]}}",
        "solver: {optimizer: {name: torch.optim.RAdam, lr: 1, foreach: true}, parameters: [{match: a, lr_factor: 0.1}]}",
        "data: {val: {from_train: 0.2}}",
        "data: {val: null, train: {format: my_format, root: x}}",
        "data: {val: {num_images: 3}}",
        "hooks: [{name: Profiler, hook_name: mine}, {name: Own, x: 1}]",
        "train: {eval_period: 1 epoch, checkpoint_period: 500, keep_every: '0.5 epochs'}",
        "model: {backbone: {name: ResNet, norm: {name: torch.nn.GroupNorm, num_groups: 8}}}",
    ],
)
def test_parts_and_components_of_ones_own_are_valid(text):
    assert not mistakes(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("output_dri: x", "$"),
        ("train: {epoch: 3}", "$.train"),
        ("train: {epochs: 3, iterations: 3}", "$.train"),
        ("train: {epochs: 1.5}", "$.train.epochs"),
        ("train: {epochs: 0}", "$.train.epochs"),
        ("train: {ema_decay: 1}", "$.train.ema_decay"),
        ("train: {precision: fp8}", "$.train.precision"),
        ("train: {deterministic: 1}", "$.train.deterministic"),
        ("train: {eval_period: often}", "$.train.eval_period"),
        ("train: {early_stopping: {patience: 0}}", "$.train.early_stopping"),
        ("predict: {score_threshold: 2}", "$.predict.score_threshold"),
        ("solver: {clip_norm: 0}", "$.solver.clip_norm"),
        ("solver: {parameters: [{lr_factor: 1}]}", "$.solver.parameters[0]"),
        ("solver: {parameters: [{match: a, lr_factor: -1}]}", "$.solver.parameters[0].lr_factor"),
        ("model: {backbone: {name: TinyNet, widht: 3}}", "$.model.backbone"),
        ("model: {backbone: {name: ResNet, arch: 51}}", "$.model.backbone.arch"),
        ("model: {backbone: TinyNet}", "$.model.backbone"),
        ("model: {backbone: {widht: 3}}", "$.model.backbone"),
        ("model: {roi_heads: {detections_per_image: many}}", "$.model.roi_heads.detections_per_image"),
        ("model: {roi_heads: {foreground_iou: 0.5}}", "$.model.roi_heads"),
        ("model: {roi_heads: {name: StandardROIHeads, add_objects: true}}", "$.model.roi_heads"),
        (
            "model: {proposal_generator: {name: RPN, pre_nms_top_k: [1, 2, 3]}}",
            "$.model.proposal_generator.pre_nms_top_k",
        ),
        ("model: {name: GeneralizedRCNN, proposal_generator: null}", "$.model.proposal_generator"),
        ("data: {train_transforms: [{p: 0.5}]}", "$.data.train_transforms[0]"),
        ("data: {train_transforms: [{name: Resize}]}", "$.data.train_transforms[0]"),
        ("data: {train_transforms: {name: Resize, size: 3}}", "$.data.train_transforms"),
        ("data: {val: {from_train: 1}}", "$.data.val"),
        ("data: {train: {format: coco, root: x}}", "$.data.train"),
        ("SOLVER: {BASE_LR: 1}", "$"),
        ("imports: my_module", "$.imports"),
    ],
)
def test_mistakes_are_found(text, path):
    found = mistakes(text)
    assert any(line.startswith(f"{path}: ") for line in found), found


def test_every_misspelt_key_of_a_configuration_is_found():
    """Each key of the quickstart in turn, in the file as it is shipped, with a letter more."""
    plain = read_yaml((CONFIGS / "quickstart.yaml").read_text(), "quickstart.yaml").plain()

    def mappings(value):
        if isinstance(value, dict):
            yield value
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from mappings(child)

    count = 0
    for mapping in mappings(plain):
        for key in list(mapping):
            if key in ("name", "format"):
                continue  # without it, the keys of all components are valid
            before = dict(mapping)
            mapping[f"{key}x"] = mapping.pop(key)
            assert not VALIDATOR.is_valid(plain), key
            mapping.clear()
            mapping.update(before)
            count += 1
    assert VALIDATOR.is_valid(plain) and count > 40


def test_descriptions_and_defaults():
    definitions = SCHEMA["definitions"]
    lr = definitions["OPTIMIZER.AdamW"]["properties"]["lr"]
    assert lr["type"] == "number" and "learning rate" in lr["description"] and "default" not in lr
    assert definitions["BACKBONE.TinyNet"]["properties"]["width"]["default"] == 32
    names = {choice.get("const") for choice in definitions["BACKBONE"]["properties"]["name"]["anyOf"]}
    assert {"ResNet", "ConvNeXt", None} <= names  # None: any other name
    assert definitions["TrainConfig"]["properties"]["precision"]["enum"] == ["fp32", "bf16", "fp16"]
