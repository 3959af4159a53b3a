from __future__ import annotations

import dataclasses
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.config.describe import describe_components, describe_keys, describe_values, inline, leaves
from segkit.config.schema import Config, DataConfig, Help, PredictConfig, SolverConfig, SplitConfig, TrainConfig
from segkit.config.specs import section_fields
from segkit.utils.errors import SegkitError

MINIMAL = "model: {name: Detector, backbone: {name: TinyNet}}\ndata: {train: {format: coco, json: a, images: b}}\n"
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("section", [Config, DataConfig, SplitConfig, SolverConfig, TrainConfig, PredictConfig])
def test_every_key_has_a_help_text_and_a_type(section):
    for key, (_, annotation) in section_fields(section).items():
        texts = [extra.text for extra in annotation.__metadata__ if isinstance(extra, Help)]
        assert len(texts) == 1 and len(texts[0]) > 5, f"{section.__name__}.{key}"
    assert dataclasses.fields(section)


def test_every_leaf_has_an_origin(load):
    cfg = load("hooks: [{name: Report, period: 3}]\n", "data.val.from_train=0.5")
    assert {path for path, _ in leaves(cfg)} == set(cfg.origins)


def test_values_are_listed_with_their_origins(load):
    lines = describe_values(load("train: {precision: bf16}\n", "model.backbone.width=3")).splitlines()
    row = {line.split()[0]: line.split(None, 1)[1] for line in lines if line}
    assert row["model.backbone.width"].split() == ["3", "command", "line"]
    assert row["train.precision"].split() == ["bf16", "run.yaml:6"]
    assert row["data.train_transforms.1.sizes"].split() == ["[800]", "default"]


def test_keys_and_components():
    keys = describe_keys()
    assert "data.val.from_train" in keys and "train.checkpoint_period" in keys and "(required)" in keys
    one = describe_components("TinyNet")
    assert "A backbone for tests." in one and "'small' or 'large'" in one and "BigNet" not in one
    assert describe_components("backbone") == describe_components("BACKBONE_REGISTRY")
    assert "a spec (NECK) or null" in describe_components("Detector") and "(required)" in describe_components(
        "Detector"
    )
    assert "(takes no arguments)" in describe_components("COCO")
    everything = describe_components()
    assert all(name in everything for name in ("OPTIMIZER_REGISTRY (2 components)", "{format: coco}", "BigNet"))
    with pytest.raises(SegkitError, match="'TinyNt'; did you mean 'TinyNet'"):
        describe_components("TinyNt")


def test_inline():
    assert inline([[1], [2.5]]) == "[[1], [2.5]]" and inline("1e-4") == "'1e-4'" and inline(None) == "null"
    assert inline({"a": "x" * 200}) == "{a: " + "x" * 200 + "}"


TOOL = ROOT / "tools" / "describe_config.py"


def test_the_tool_runs_from_any_folder():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, str(TOOL), "--help-keys"]
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=100)
    assert done.returncode == 0 and "solver.optimizer" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--config-file", "none.yaml"], 1, "none.yaml"),
        (["--config-file", "run.yaml", "train.epochs"], 1, "train.epochs (command line)"),
        (["--config-file", "run.yaml"], 1, "tran.epochs (run.yaml:1)"),
        ([], 2, "give --config-file, --help-keys or --components"),
        (["--help-keys", "a=1"], 2, "overrides need a --config-file"),
    ],
)
def test_the_tool_prints_mistakes_and_their_exit_status(write, monkeypatch, capsys, words, status, message):
    write("run.yaml", "tran: {epochs: 3}\n")
    monkeypatch.setattr(sys, "argv", [str(TOOL), *words])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert caught.value.code == status and message in capsys.readouterr().err


def test_the_tool_prints_tables_and_yaml(write, monkeypatch, capsys):
    write("run.yaml", MINIMAL)
    for words, text in [
        ([], "model.backbone.width"),
        (["--yaml"], "  backbone:"),
        (["--components", "FPN"], "out_channels"),
    ]:
        monkeypatch.setattr(sys, "argv", [str(TOOL), "--config-file", "run.yaml", *words, "train.seed", "3"])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(TOOL), run_name="__main__")
        assert not caught.value.code and text in capsys.readouterr().out
