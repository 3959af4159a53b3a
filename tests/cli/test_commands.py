"""Each command on tiny inputs; scripts and modules are the same commands."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segkit
from segkit.cli.shipped import find_config, first_sentence, is_config, shipped_configs
from segkit.registry import HOOK_REGISTRY

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "train.iterations=1", "data.num_workers=0", "data.train.num_images=4", "data.val.num_images=2", "train.device=cpu",
    "data.batch_size=2", "data.train.image_size=[64, 64]", "data.val.image_size=[64, 64]",
    "data.train.max_objects=11", "data.val.max_objects=11", "model.backbone.width=8", "model.neck.out_channels=16",
    "model.proposal_generator.post_nms_top_k=[20, 20]", "model.roi_heads.box_head.fc_dims=[16]",
]  # fmt: skip


def test_a_run_and_what_follows(segkit_command, tmp_path, monkeypatch):
    """``train``, ``eval`` and ``predict`` in the order in which a user types them."""
    monkeypatch.chdir(tmp_path)
    status, _, error = segkit_command("train", "quickstart", "output_dir=run", *TINY)
    assert status == 0, error
    assert Path("run/model_final.pth").is_file() and Path("run/report.html").is_file()
    status, _, error = segkit_command("train", "run/config.yaml")
    assert status == 1 and "--resume" in error and "--restart" in error
    status, _, error = segkit_command("eval", "--config-file", "run/config.yaml", "data.val.num_images=1")
    assert status == 0, error
    assert list(Path("run/inference").iterdir())
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save("a.png")
    predict = ["predict", "a.png", "--weights", "run/model_final.pth", "--output", "predicted", "--no-overlays"]
    status, out, error = segkit_command(*predict, "--score-threshold", "0.99", "--device", "cpu")
    assert status == 0, error
    assert "predicted/predictions.json" in out and json.loads(Path("predicted/predictions.json").read_text())["images"]


def test_trying_one_batch(segkit_command, tmp_path):
    folder = tmp_path / "out"
    status, _, error = segkit_command("train", "quickstart", "--dry-run", f"output_dir={folder}", *TINY)
    assert status == 0 and not folder.exists(), error


def test_measuring(segkit_command, tmp_path):
    small = ["--size", 64, 64, "--runs", 1, "--device", "cpu"]
    status, out, error = segkit_command("analyze", "quickstart", *small, "--json", tmp_path / "a.json")
    assert status == 0 and "GFLOPs" in out, error
    assert json.loads((tmp_path / "a.json").read_text())["parameters"]["total"] > 0
    words = ["infer", "--config-file", "quickstart", *small, "--batch", 1, "--objects", 2, "--no-memory"]
    status, out, error = segkit_command("benchmark", *words)
    assert status == 0 and "segkit" in out, error


def test_the_doctor(segkit_command):
    status, out, _ = segkit_command("doctor")
    assert status == 0 and segkit.__version__ in out and "segkit can work here" in out


def test_list(segkit_command):
    status, out, _ = segkit_command("config", "list")
    names = {line.split()[0]: line for line in out.splitlines() if line}
    assert status == 0 and "four shapes" in names["quickstart"] and "coco/rpn_r50_fpn" in names
    assert not any("/_" in name or name.startswith("_") for name in names)
    for name, text in shipped_configs().items():
        assert 10 < len(text) < 160 and "yaml-language-server" not in text, name
        assert segkit.load_config(find_config(name)).model


def test_first_sentences():
    text = "# yaml-language-server: $schema=x\n# Boxes only: no\n# masks. More. And more.\nmodel: {}\n# Not this.\n"
    assert first_sentence(text) == "Boxes only: no masks"
    assert first_sentence("# A model for two\n# cores:\n#   segkit train x\n") == "A model for two cores"
    assert first_sentence("model: {}\n") == ""


def test_show(segkit_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = segkit_command("config", "show", "quickstart", "train.seed=7")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert status == 0 and rows["train.seed"] == ["7", "command", "line"]
    assert rows["model.backbone.name"][0] == "TinyNet" and "quickstart.yaml:" in rows["model.backbone.name"][1]
    status, out, _ = segkit_command("config", "show", "--yaml", "segkit://quickstart.yaml", "train.seed", "7")
    Path("copy.yaml").write_text(out)
    assert (
        segkit.load_config("copy.yaml").to_dict()
        == segkit.load_config("segkit://quickstart.yaml", ["train.seed=7"]).to_dict()
    )


def test_keys_and_components(segkit_command):
    assert "solver.optimizer" in segkit_command("config", "keys")[1]
    out = segkit_command("config", "components", "backbone")[1]
    assert "TinyNet" in out and "RandomCrop" not in out


OWN = (
    "from segkit.registry import HOOK_REGISTRY\n\n\n@HOOK_REGISTRY.register\ndef {name}(period, *, colour: int): ...\n"
)


def test_components_that_a_configuration_imports(segkit_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "OwnHook"
    assert name not in HOOK_REGISTRY
    monkeypatch.setattr(HOOK_REGISTRY, "_obj_map", dict(HOOK_REGISTRY._obj_map))
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("own_hooks_of_a_test.py").write_text(OWN.format(name=name))
    Path("mine.yaml").write_text("_BASE_: segkit://quickstart.yaml\nimports: [own_hooks_of_a_test]\n")
    assert "colour" in segkit_command("config", "components", "--config-file", "mine.yaml", name)[1]
    status, out, _ = segkit_command("config", "schema", "--config-file", "mine.yaml", "--output", "a/schema.json")
    assert status == 0 and "a/schema.json" in out
    definition = json.loads(Path("a/schema.json").read_text())["definitions"][f"HOOK.{name}"]
    assert definition["properties"]["colour"] == {"type": "integer"}


def test_what_is_a_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in ("a.yaml", "a/b.yml", "quickstart", "coco/rpn_r50_fpn", "segkit://x.yaml", "https://a/b.yaml"):
        assert is_config(word), word
    for word in ("train.epochs", "train.epochs=3", "data.train=a.yaml", "output_dir", "-1", "../setup", "{a: b}"):
        assert not is_config(word), word
    assert find_config("quickstart") == find_config("quickstart.yaml") == "segkit://quickstart.yaml"
    Path("quickstart").write_text("")
    assert find_config("quickstart") == "quickstart" and find_config("none.yaml") == "none.yaml"


@pytest.mark.parametrize(
    ("tool", "command"),
    [("train_net", "train"), ("predict", "predict"), ("analyze_model", "analyze"), ("benchmark", "benchmark")],
)
def test_the_tools_are_the_commands(tool, command):
    of_tool, of_command = (importlib.import_module(f"segkit.{name}") for name in (f"tools.{tool}", f"cli.{command}"))
    assert of_tool.main is of_command.main and of_tool.parse_arguments is of_command.parse_arguments


def test_evaluating_is_training_with_a_flag():
    train, evaluate = (importlib.import_module(f"segkit.cli.{name}") for name in ("train", "evaluate"))
    words = ["quickstart", "--weights", "a.pth", "train.seed=3", "--num-gpus", "2"]
    found, expected = vars(evaluate.parse_arguments(words)), vars(train.parse_arguments([*words, "--eval-only"]))
    assert {key: found[key] for key in expected} == expected


def test_the_module_is_the_command():
    command, env = [sys.executable, "-m", "segkit", "--version"], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"segkit {segkit.__version__}\n")


WITHOUT = """
import runpy, sys
for name in ("torch", "numpy", "tabulate", "termcolor", "yaml", "iopath"):
    sys.modules[name] = None
sys.argv = ["segkit", "doctor"]
runpy.run_module("segkit", run_name="__main__")
"""


def test_the_doctor_needs_nothing_that_may_be_missing():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 1 and not done.stderr and "problem: numpy" in done.stdout
