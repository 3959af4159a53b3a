"""The schema of study files: current, and of one mind with the reader on what is a study file."""

from __future__ import annotations

import json

import jsonschema
import pytest

from segkit.cli.shipped import MODELINE
from segkit.config.yaml_reader import read_yaml
from segkit.study.executors import EXECUTORS
from segkit.study.json_schema import study_schema_text
from segkit.study.study_file import read_study
from segkit.utils.errors import SegkitError
from segkit.utils.paths import packaged_configs

SHIPPED = packaged_configs() / "study_schema.json"
VALIDATOR = jsonschema.Draft7Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))
START = "output: out\nbase: base.yaml\n"


def mistakes(text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(read_yaml(text, "file").plain())]


def test_it_is_current(monkeypatch):
    EXECUTORS.names()  # loads their home
    own = {name: made for name, made in EXECUTORS._obj_map.items() if made.__module__.startswith("segkit.")}
    monkeypatch.setattr(EXECUTORS, "_obj_map", own)
    changed = "keys changed: segkit config schema --study --output configs/study_schema.json"
    assert study_schema_text() == SHIPPED.read_text(encoding="utf-8"), changed
    jsonschema.Draft7Validator.check_schema(VALIDATOR.schema)
    for name in VALIDATOR.schema["definitions"]:
        assert f"#/definitions/{name}" in SHIPPED.read_text(encoding="utf-8"), f"{name} is used nowhere"


@pytest.mark.parametrize("name", ["study", "study_cpu"])
def test_shipped_studies_name_it_and_are_valid(name):
    path = packaged_configs() / f"cells/{name}.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"{MODELINE} $schema=../study_schema.json\n") and not mistakes(text)


@pytest.mark.parametrize(
    "text",
    [
        "runs: {a: , b: {from: a, overrides: {model.roi_heads.score_threshold: 0.5}}}",
        "runs: {a: {base: x.yaml, overrides: {data.train_transforms.2: {name: X}, train.iterations: 3}}}",
        "grid: {solver.optimizer.lr: [1e-4, 1e-3], train.ema_decay: [null, 0.9], model.backbone: [{name: ResNet}]}",
        "runs: {a: }\ntables: {t: {title: T, metric: segm/AP50, rows: [a, {run: a, label: A, published: 0.4}]}}",
        "executor: {name: slurm, partition: gpu, parameters: {account: me}}\nbudget: {minutes: 2.5}\nseeds: [0, 1]",
        "search: {trials: 3, rungs: [1, 2], space: {solver.optimizer.lr: {low: 1e-5, high: 1e-2, log: true}}}",
        "search: {space: {model.neck.out_channels: {low: 8, high: 64, step: 8}, train.epochs: [1, 2]}}",
    ],
)
def test_what_is_valid(study_file, text):
    assert not mistakes(START + text)
    read_study(study_file(START + text))


@pytest.mark.parametrize(
    "text",
    [
        "seed: [0]",
        "seeds: [-1]",
        "runs: {../a: }",
        "runs: {a: {form: b}}",
        "tables: {t: {rows: []}}",
        "tables: {t: {rows: [{label: A}]}}",
        "budget: {iterations: 0}",
        "executor: {name: slurm, partiton: gpu}",
        "search: {trials: 3}",
    ],
)
def test_what_the_reader_refuses_too(study_file, text):
    assert mistakes(START + text)
    with pytest.raises(SegkitError):
        read_study(study_file(START + text))


@pytest.mark.parametrize(
    "text",
    [
        "overrides: {train.iteratons: 3}",
        "overrides: {train.iterations: many}",
        "overrides: {train.seed: 3}",
        "runs: {a: {overrides: {output_dir: x}}}",
        "grid: {train.epochs: 3}",
        "grid: {train.epochs: [none]}",
        "search: {space: {train.epochs: {low: 1, hihg: 3}}}",
    ],
)
def test_keys_of_configurations(text):
    """The reader of studies leaves them to the plan, which has the configurations."""
    assert mistakes(START + text)
