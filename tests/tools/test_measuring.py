"""tools/analyze_model.py and tools/benchmark.py from their command lines."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from segkit.utils.cli import run_cli

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--config-file", "segkit://quickstart.yaml", "--size", "64", "64", "--runs", "1", "--device", "cpu"]


def load(name):
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a tool in this process; gives its exit status, and what it wrote on stdout and stderr."""

    def run(name, *arguments):
        tool = load(name)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            options = tool.parse_arguments()
            run_cli(lambda: tool.main(options))
        return ended.value.code, *capsys.readouterr()

    return run


def test_analysis(run, tmp_path):
    path = tmp_path / "a" / "analysis.json"
    overrides = ["model.backbone.trainable_stages=2", "--num-classes", 7]
    status, out, _ = run("analyze_model", *TINY, "--objects", 2, "--json", path, *overrides)
    assert status == 0
    for words in ("roi_heads.mask_head", "1 x 100 boxes", "GFLOPs", "training, 2 objects", "7 classes", "Not counted:"):
        assert words in out
    found = json.loads(path.read_text())
    parameters, flops = found["parameters"], found["flops"]
    assert parameters["total"] == sum(part["total"] for part in parameters["parts"].values())
    assert flops["total"] == sum(part["flops"] for part in flops["parts"].values()) > 0
    assert flops["activations"] == sum(part["activations"] for part in flops["parts"].values())
    assert {(f["name"], f["stride"]) for f in found["features"]} >= {("stage1", 4), ("stage4", 32), ("p6", 64)}
    trains = {stage["name"]: stage["trainable"] > 0 for stage in found["stages"]}
    assert trains == {"stem": False, "stage1": False, "stage2": False, "stage3": True, "stage4": True}
    frozen = sum(stage["parameters"] for stage in found["stages"] if not stage["trainable"])
    assert parameters["total"] - parameters["trainable"] == frozen > 0
    assert len(found["steps"]) == 2 and all(step["seconds"] > 0 for step in found["steps"])


def test_analysis_of_a_checkpoint_which_is_read_once(run, tmp_path, monkeypatch):
    import torch

    import segkit
    from segkit.benchmark.models import build_random

    model = build_random(segkit.load_config("segkit://quickstart.yaml"), 2)
    path = tmp_path / "two.pth"
    torch.save({"model": model.state_dict(), "classes": ["a", "b"], "category_ids": [1, 2]}, path)
    reads, read = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: reads.append(args) or read(*args, **kwargs))
    status, out, _ = run("analyze_model", *TINY, "--weights", path, "model.roi_heads.detections_per_image=5")
    assert status == 0 and "2 classes" in out and len(reads) == 1


@pytest.mark.parametrize(
    "tool, arguments, told",
    [
        ("analyze_model", [*TINY, "--size", "32", "64"], "--size must be at least 64 64, not 32 64"),
        ("analyze_model", [*TINY, "--batch", "0"], "--batch must be at least 1, not 0"),
        ("analyze_model", [*TINY, "--weights", "nothing.pth"], "nothing.pth"),
        ("analyze_model", [*TINY, "model.backbone.widht=3"], "did you mean 'width'?"),
        ("analyze_model", [*TINY, "--device", "gpu"], "--device: 'gpu' is not a device"),
        ("analyze_model", ["--config-file", "segkit://quikstart.yaml"], "quickstart.yaml"),
        ("analyze_model", [*TINY, "--size", "64", "99999999"], "--size must be at most 32768 32768, not 64 99999999"),
        ("analyze_model", [*TINY, "--batch", "-3"], "--batch must be at least 1, not -3"),
        ("analyze_model", [*TINY, "--objects", "99999999999"], "--objects must be at most"),
        ("analyze_model", [*TINY, "--json", ""], "--json: the name of the file is empty"),
        ("analyze_model", [*TINY, "--json", "/"], "--json: '/' is a folder"),
        ("analyze_model", [*TINY, "--weights", "/"], "the checkpoint '/' is a folder, not a file"),
        ("analyze_model", [*TINY, "--device", "cuda:3"], "--device: 'cuda:3' was asked for"),
        ("benchmark", ["infer", *TINY, "--device", "meta"], "--device: 'meta' cannot be used"),
        ("describe_config", ["--config-file", "/"], "the config '/' is a folder, not a file"),
        (
            "describe_config",
            ["--config-file", "segkit://Quickstart.yaml"],
            "quickstart.yaml'? (upper and lower case differ)",
        ),
        ("benchmark", ["trian"], "there is no part 'trian'; did you mean 'train'?"),
        ("benchmark", ["data", "postproces"], "there is no part 'postproces'; did you mean 'postprocess'?"),
        ("benchmark", ["memory", "--annotations", "0"], "--annotations must be at least 1, not 0"),
        ("benchmark", ["memory", "--no-memory"], "--no-memory leaves nothing of the part memory"),
        ("benchmark", ["train", *TINY, "--runs", "0"], "--runs must be at least 1, not 0"),
        ("benchmark", ["infer", *TINY, "--precision", "half"], "--precision must be fp32, bf16 or fp16, got 'half'"),
    ],
)
def test_mistakes(run, tool, arguments, told):
    status, _, error = run(tool, *arguments)
    assert status == 1 and "Traceback" not in error
    assert told in error and error.count("error:") == 1


def test_flags_reach_the_benchmark(run, tmp_path):
    path = tmp_path / "bench.json"
    status, out, _ = run(
        "benchmark", "infer", *TINY, "--batch", 2, "--objects", 3, "--num-classes", 4, "--no-memory", "--json", path,
        "--opts", "model.backbone.width=16",
    )  # fmt: skip
    assert status == 0 and "2 x 64 x 64, 3 detections an image, fp32" in out
    options = json.loads(path.read_text())["parts"][0]["options"]
    assert options["overrides"] == ["model.backbone.width=16"] and options["size"] == [64, 64]
    assert options["memory"] is False and options["runs"] == 1 and options["num_classes"] == 4


def test_commands_of_the_page_on_benchmarks_parse():
    from segkit.benchmark.options import PARTS

    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(lines) >= 4
    lines += [shlex.split(command) for command in re.findall(r"^\| `(python [^`]*)` \|", page, flags=re.MULTILINE)]
    for python, script, *arguments in lines:
        assert python == "python"
        options = load(Path(script).stem).parse_arguments(arguments)
        assert set(getattr(options, "parts", [])) <= set(PARTS)
    for name in PARTS:
        assert f"`{name}`" in page
