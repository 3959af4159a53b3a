"""Files in, files out; also through tools/predict.py."""

from __future__ import annotations

import json
import logging
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segkit
from segkit.data.formats.id_map import ImageEntry
from segkit.evaluation.results import PredictionsWriter
from segkit.evaluation.submission import SubmissionWriter
from segkit.inference.predict_files import name_inputs, predict_files
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError
from segkit.visualization.overlays import OverlayWriter

TOOL = Path(__file__).parents[2] / "tools" / "predict.py"
CLASSES, IDS = ["one", "two"], [1, 4]


def fake_predictor(images, batch_size=1):
    """One object of the second class, in the upper left pixel."""
    return [
        Detections(
            torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0.75]), torch.tensor([1]), torch.ones(1, 4, 4), i.shape[1:]
        )
        for i in images
    ]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.png", "c.tif")):
        Image.fromarray(np.full((20 + i, 30, 3), 60 * i, np.uint8)).save(folder / name)
    return sorted(folder.iterdir())


def writers(output, inputs, id_map=()):
    made = [
        PredictionsWriter(output / "predictions.json", CLASSES, IDS),
        OverlayWriter(output / "overlays", inputs, CLASSES),
    ]
    return made + ([SubmissionWriter(output, id_map, IDS)] if id_map else [])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_everything_is_written(images, tmp_path, batch_size):
    id_map = [ImageEntry(p.name, 10 + i, (20 + i, 30)) for i, p in enumerate(images)]
    inputs, output = name_inputs(images, id_map), tmp_path / "out"
    summary = predict_files(fake_predictor, inputs, writers(output, inputs, id_map), batch_size=batch_size)
    assert summary.images == 3 and summary.detections == {1: 3} and not summary.skipped
    assert sorted(p.relative_to(output).as_posix() for p in output.rglob("*.*")) == [
        *("overlays/a.png", "overlays/b.png", "overlays/c.png"),
        *("predictions.json", "test-results.json", "test-results.zip"),
    ]
    results = json.loads((output / "test-results.json").read_text())
    assert [(r["image_id"], r["category_id"], r["bbox"]) for r in results] == [
        (10 + i, 4, [0, 0, 1, 1]) for i in range(3)
    ]
    assert [r["segmentation"]["size"] for r in results] == [[20, 30], [21, 30], [22, 30]]
    assert summary.table(CLASSES).splitlines()[-1].split() == ["all", "3"]


def test_an_unreadable_image_stops_and_nothing_before_is_lost(images, tmp_path):
    images[2].write_bytes(images[2].read_bytes()[:60])
    inputs, output = name_inputs(images), tmp_path / "out"
    with pytest.raises(SegkitError, match=r"c.tif.*; the predictions of the 2 images before it are in .*"):
        predict_files(fake_predictor, inputs, writers(output, inputs))
    assert len(json.loads((output / "predictions.json").read_text())["annotations"]) == 2


def test_unreadable_images_can_be_skipped(images, tmp_path, caplog):
    images[0].write_bytes(b"no image")
    inputs = name_inputs(images)
    summary = predict_files(fake_predictor, inputs, writers(tmp_path / "out", inputs), skip_unreadable=True)
    assert summary.images == 2 and summary.skipped == [images[0]] and "a.png" in caplog.text


def test_id_map_mistakes(images, tmp_path):
    with pytest.raises(SegkitError, match=r"1 of the 1 images of the id map are .*: aa.png; did you mean '.*/a.png'"):
        name_inputs(images, [ImageEntry("aa.png", 1, None)])
    with pytest.raises(SegkitError, match="30 x 20 pixels, but the id map says 20 x 30"):
        name_inputs(images, [ImageEntry("a.png", 1, (30, 20))])
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "a.png"
    Image.new("RGB", (30, 20)).save(twin)
    with pytest.raises(SegkitError, match=r"both .*a.png and .*a.png are 'a.png' of the id map"):
        name_inputs([images[0], twin], [ImageEntry("a.png", 1, None)])
    assert list(name_inputs([images[0], twin], [ImageEntry("more/a.png", 1, None)]).values()) == [images[0], twin]


def test_an_overlay_never_replaces_an_input(images):
    with pytest.raises(SegkitError, match="would replace an input"):
        OverlayWriter(images[0].parent, name_inputs(images), CLASSES)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the tool in this process: (exit status, stdout, stderr)."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(TOOL), run_name="__main__")
        return stopped.value.code, *capsys.readouterr()

    yield call
    root.handlers[:], root.level = handlers, level


def test_help_imports_no_torch():
    code = "import sys, runpy; sys.argv = ['predict', '--help']\n"
    code += f"try: runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--score-threshold" in done.stdout, done.stderr


def test_the_tool(images, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = segkit.load_config("segkit://quickstart.yaml", ["model.roi_heads.detections_per_image=5"])
    state = {
        "model": segkit.build_model(cfg, 2).state_dict(),
        "config": cfg.to_dict(),
        "classes": CLASSES,
        "iteration": 0,
    }
    torch.save({**state, "category_ids": IDS}, "model.pth")
    entries = [{"file_name": p.name, "id": 7 * i, "height": 20 + i, "width": 30} for i, p in enumerate(images)]
    Path("ids.json").write_text(json.dumps(entries))
    status, out, err = run(
        "--weights", "model.pth", "images", "images/*.png", "--output", "out", "--id-map", "ids.json",
        "--device", "cpu",
        "--batch-size", 2, "--score-threshold", 0.05, "--opts", "data.test_batch_size", 1,
    )  # fmt: skip
    assert status == 0, err
    assert "of 3 images in" in out and "out/test-results.zip" in out
    assert len(list(Path("out/overlays").glob("*.png"))) == 3
    results = json.loads(Path("out/test-results.json").read_text())
    assert results and {r["image_id"] for r in results} <= {0, 7, 14} and {r["category_id"] for r in results} <= {1, 4}
    with zipfile.ZipFile("out/test-results.zip") as archive:
        assert archive.namelist() == ["test-results.json"]
    # A COCO file as id map: both files have its ids for the model's classes.
    categories = [{"id": 70 + i, "name": name} for i, name in enumerate(reversed(CLASSES))]
    Path("ids.json").write_text(json.dumps({"images": entries, "categories": categories}))
    status, _, err = run(
        "--weights", "model.pth", "images", "--output", "out", "--id-map", "ids.json", "--device", "cpu",
        "--score-threshold", 0.05,
    )  # fmt: skip
    assert status == 0, err
    predictions = json.loads(Path("out/predictions.json").read_text())
    results = json.loads(Path("out/test-results.json").read_text())
    assert {c["name"]: c["id"] for c in predictions["categories"]} == {CLASSES[0]: 71, CLASSES[1]: 70}
    assert results and {r["category_id"] for r in results + predictions["annotations"]} <= {70, 71}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images"], "'modle.pth' does not exist; beside it there is 'model.pth'"),
        (["imagse"], "'imagse' does not exist; beside it there is 'images'"),
        (["images", "--id-map", "no.json"], "no.json' does not exist"),
        (["images", "--batch-size", "0"], "--batch-size must be at least 1"),
        ([".", "images"], "the folder '.' holds no images"),
    ],
)
def test_the_tools_mistakes(images, tmp_path, run, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("model.pth").write_bytes(b"")
    status, _, err = run("--weights", "modle.pth", "--output", "out", *arguments)
    assert status == 1 and message in err and "Traceback" not in err and not Path("out").exists()
