"""A user's mistakes on the command line: one clear message, exit status 1, no traceback, nothing lost."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.utils.cli import run_cli

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["train.iterations=1", "data.num_workers=0", "data.train.num_images=4", "data.val=null"]


def run_tool(name, arguments, monkeypatch, capsys):
    """Runs a tool in this process; returns its exit status and what it wrote on stderr."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        options = tool.parse_arguments()
        run_cli(lambda: tool.main(options))
    return ended.value.code, capsys.readouterr().err


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*overrides, config="segkit://quickstart.yaml", flags=()):
        arguments = ["--config-file", config, *flags, f"output_dir={tmp_path / 'out'}", *overrides]
        status, error = run_tool("train_net", arguments, monkeypatch, capsys)
        assert status == 0 or status == 1, error
        assert "Traceback" not in error
        return status, [line for line in error.splitlines() if "error:" in line]

    return run


def expect(result, *parts):
    status, lines = result
    assert status == 1
    assert len(lines) == 1, lines
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize(
    "overrides, parts",
    [
        (["model.backbone={name: TinyNett}"], ["model.backbone", "command line", "TinyNett", "'TinyNet'"]),
        (["model.backbone.widht=32"], ["model.backbone.widht", "command line", "TinyNet", "'width'"]),
        (["train.iteration=5"], ["train.iteration", "'train.iterations'"]),
        (["SOLVER.BASE_LR=0.1"], ["SOLVER.BASE_LR", "solver.optimizer.lr"]),
        (["train.iterations=many"], ["train.iterations", "command line", "many"]),
        (["model.roi_heads.batch_size_per_image=1.5"], ["model.roi_heads.batch_size_per_image", "1.5"]),
        (["train.seed"], ["train.seed"]),
        (["model.roi_heads.in_features={}"], ["in_features"]),
        (["model.roi_heads.score_threshold=7"], ["model.roi_heads", "score_threshold", "7"]),
        (["train.max_parameters=1000"], ["max_parameters", "1,000"]),
        (["train.precision=fp16", "train.device=cpu"], ["fp16", "fp32"]),
    ],
)
def test_configuration(train, overrides, parts):
    expect(train(*overrides), *parts)


def test_missing_files(train, tmp_path):
    (tmp_path / "mine.yaml").write_text("output_dir: x\n")
    expect(train(config="mien.yaml"), "mien.yaml", "mine.yaml")
    expect(train("data.train={format: label_map, root: nowhere}"), "data.train", "nowhere")
    expect(train("train.init_weights=nothing.pth", *QUICK), "nothing.pth")


def test_yaml_that_is_not(train, tmp_path):
    (tmp_path / "broken.yaml").write_text("model: [1, 2\n")
    expect(train(config="broken.yaml"), "broken.yaml")


def write_label_map(folder, mask):
    folder.mkdir(parents=True)
    Image.fromarray(np.full((40, 50, 3), 100, np.uint8)).save(folder / "image.tif")
    Image.fromarray(mask).save(folder / "class1.tif")


def test_label_maps(train, tmp_path):
    mask = np.zeros((40, 50), np.uint16)
    mask[5:20, 5:20] = 1
    root = tmp_path / "set"
    data = [
        f"data.train={{format: label_map, root: {root}}}",
        "data.val=null",
        "data.num_workers=0",
        "train.iterations=1",
    ]
    root.mkdir()
    expect(train(*data), "set")  # zero training images
    write_label_map(root / "a", mask)
    write_label_map(root / "b", mask[:30])
    expect(train(*data), "class1.tif", "30", "40")
    write_label_map(root / "c", mask)
    (root / "b" / "class1.tif").unlink()
    (root / "b" / "image.tif").write_bytes(b"not an image")
    expect(train(*data), "image.tif")


def test_coco(train, tmp_path):
    Image.fromarray(np.full((40, 50, 3), 100, np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / "annotations.json"
    data = [f"data.train={{format: coco, json: {path}, images: {tmp_path}}}", "data.val=null", "train.iterations=1"]
    path.write_text("{")
    expect(train(*data), "annotations.json")
    path.write_text('{"images": []}')
    expect(train(*data), "annotations.json", "annotations")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 50}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 4,
                "bbox": [5, 5, 10, 10],
                "area": 100,
                "iscrowd": 0,
                "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]],
            }
        ],
    }
    path.write_text(json.dumps(content))
    expect(train(*data), "annotations.json", "4", "3")  # a category id out of range
    content["annotations"] = []
    content["images"] = []
    path.write_text(json.dumps(content))
    expect(train(*data), "data.train")


def test_checkpoints(train, tmp_path):
    status, lines = train(*QUICK)
    assert status == 0, lines
    weights = tmp_path / "out" / "model_final.pth"
    before = weights.read_bytes()
    three = "data.train={format: synthetic, num_images: 4, classes: [triangle, cross, ring]}"
    other = train(
        "train.iterations=1",
        "data.num_workers=0",
        three,
        "data.val={format: synthetic, num_images: 2, classes: [triangle, cross, ring]}",
        flags=["--eval-only", "--weights", str(weights)],
    )
    expect(other, "star")
    assert weights.read_bytes() == before
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    expect(train(*QUICK, "train.init_weights=garbage.pth"), "out", "holds an earlier run", "--resume", "--restart")
    expect(train(*QUICK, "train.init_weights=garbage.pth", flags=["--restart"]), "garbage.pth")
    assert weights.read_bytes() == before  # nothing is moved aside for a run that does not begin


def test_predicting(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("x.png")
    for weights, image, named in (("no.pth", "x.png", "no.pth"), ("no.pth", "y.png", "y.png")):
        status, error = run_tool("predict", ["--weights", weights, image, "--output", "out"], monkeypatch, capsys)
        assert status == 1 and named in error and "Traceback" not in error


def test_an_unknown_flag_is_not_swallowed(monkeypatch, capsys):
    status, error = run_tool("train_net", ["--config-flie", "x"], monkeypatch, capsys)
    assert status == 2 and "config" in error
