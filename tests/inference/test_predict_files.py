"""Prediction over files, also by tools/predict.py."""

from __future__ import annotations

import json
import logging
import re
import runpy
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segkit
from segkit.data.formats.id_map import ImageEntry
from segkit.inference.predict_files import PredictionSummary, name_inputs, predict_files
from segkit.results import CocoResultWriter, OverlayResultWriter, PartFiles, SubmissionResultWriter
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError

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


def writers(output, id_map=()):
    common = (output, CLASSES, IDS, PartFiles(tempfile.mkdtemp(dir=output.parent)))
    made = [CocoResultWriter(*common), OverlayResultWriter(*common)]
    return made + ([SubmissionResultWriter(*common, id_map=id_map)] if id_map else [])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_everything_is_written(images, tmp_path, batch_size):
    id_map = [ImageEntry(p.name, 10 + i, (20 + i, 30)) for i, p in enumerate(images)]
    inputs, output = name_inputs(images, id_map), tmp_path / "out"
    summary = predict_files(fake_predictor, inputs, writers(output, id_map), batch_size=batch_size)
    assert summary.images == 3 and summary.detections == {1: 3} and not summary.skipped
    assert sorted(p.relative_to(output).as_posix() for p in output.rglob("*.*")) == [
        *("overlays/a.png", "overlays/b.png", "overlays/c.png"),
        *("predictions.json", "test-results.json", "test-results.zip"),
    ]
    for path in images:
        overlay = np.asarray(Image.open(output / "overlays" / f"{path.stem}.png"))
        original = np.asarray(Image.open(path).convert("RGB")).repeat(4, axis=0).repeat(4, axis=1)
        changed = (overlay[: len(original)] != original).any(axis=2)
        assert changed[:4, :4].all() and not changed[40:, 60:].any()  # the object, and what is far from it
    results = json.loads((output / "test-results.json").read_text())
    assert [(r["image_id"], r["category_id"], r["bbox"]) for r in results] == [
        (10 + i, 4, [0, 0, 1, 1]) for i in range(3)
    ]
    assert [r["segmentation"]["size"] for r in results] == [[20, 30], [21, 30], [22, 30]]
    assert summary.table(CLASSES).splitlines()[-1].split() == ["all", "3"]


def test_an_unreadable_image_is_an_error_after_which_earlier_predictions_are_saved(images, tmp_path):
    images[2].write_bytes(images[2].read_bytes()[:60])
    inputs, output = name_inputs(images), tmp_path / "out"
    with pytest.raises(SegkitError, match=r"c.tif.*; the predictions of the 2 images before it are in .*"):
        predict_files(fake_predictor, inputs, writers(output))
    assert len(json.loads((output / "predictions.json").read_text())["annotations"]) == 2


def test_unreadable_images_can_be_skipped(images, tmp_path, caplog):
    images[0].write_bytes(b"no image")
    inputs = name_inputs(images)
    summary = predict_files(fake_predictor, inputs, writers(tmp_path / "out"), skip_unreadable=True)
    assert summary.images == 2 and summary.skipped == [images[0]] and "a.png" in caplog.text


@pytest.mark.parametrize("sizes", [True, False])
@pytest.mark.parametrize("content", [b"", b"no image", "cut", "link", "folder"])
def test_an_unreadable_image_of_the_id_map(images, tmp_path, content, sizes):
    """The others are predicted, and no submission is written: it would count the image as one without objects."""
    whole = images[1].read_bytes()
    images[1].unlink()
    if content == "link":
        images[1].symlink_to("gone.png")
    elif content == "folder":
        images[1].mkdir()
    else:
        images[1].write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    id_map = [ImageEntry(p.name, 10 + i, (20 + i, 30) if sizes else None) for i, p in enumerate(images)]
    with pytest.raises(SegkitError, match=r"b\.png"):
        name = name_inputs(images, id_map)
        predict_files(fake_predictor, name, writers(tmp_path / "out", id_map), batch_size=3)
    inputs, output = name_inputs(images, id_map, skip_unreadable=True), tmp_path / "out"
    summary = predict_files(fake_predictor, inputs, writers(output, id_map), batch_size=2, skip_unreadable=True)
    assert summary.images == 2 and summary.skipped == [images[1]]
    assert summary.refused == [
        "1 of the 3 images of the id map were not predicted: b.png; no submission is written "
        "(1 of the inputs could not be read)"
    ]
    listed = json.loads((output / "predictions.json").read_text())["images"]
    assert [entry["file_name"] for entry in listed] == ["a.png", "c.tif"] and not (output / "test-results.zip").exists()


def test_a_refused_submission_names_the_earlier_one(tmp_path):
    (tmp_path / "test-results.zip").touch()
    with pytest.raises(SegkitError, match=r"not predicted: a.png; .* test-results.zip in '.*' .*earlier prediction"):
        SubmissionResultWriter(
            tmp_path, CLASSES, IDS, PartFiles(tmp_path / ".parts"), id_map=[ImageEntry("a.png", 1)]
        ).close()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_what_was_read_before_an_unreadable_image_is_predicted(images, tmp_path, batch_size):
    images[2].write_bytes(b"no image")
    inputs, output = name_inputs(images), tmp_path / "out"
    with pytest.raises(SegkitError, match=r"c\.tif.*; the predictions of the 2 images before it are in"):
        predict_files(fake_predictor, inputs, writers(output), batch_size=batch_size)
    assert len(json.loads((output / "predictions.json").read_text())["images"]) == 2


def test_nothing_can_be_read(images, tmp_path):
    for path in images:
        path.write_bytes(b"no image")
    inputs = name_inputs(images)
    with pytest.raises(SegkitError, match="none of the 3 images can be read"):
        predict_files(fake_predictor, inputs, writers(tmp_path / "out"), skip_unreadable=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (
            KeyboardInterrupt(),
            KeyboardInterrupt,
            "interrupted after 2 of 3 images; the predictions of the 2 images before",
        ),
        (ZeroDivisionError("x"), ZeroDivisionError, "ended by ZeroDivisionError after 2 of 3 images; the predictions"),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            SegkitError,
            r"c\.tif: .*memory for 1 image at once",
        ),
        (
            SegkitError("image 0 of its batch: NaN"),
            SegkitError,
            r"c\.tif: image 0 of its batch: NaN; the predictions of",
        ),
        (
            OSError(28, "No space left on device", "/x"),
            SegkitError,
            "'/x' cannot be written: No space left on device; the",
        ),
        (OSError(28, "No space left"), SegkitError, "a file of the predictions cannot be written: No space left; the"),
    ],
)
def test_predictions_before_an_error_are_saved(images, tmp_path, caplog, error, raised, text):
    def predictor(images, batch_size=1):
        if images[0].shape[1] == 22:
            raise error
        return fake_predictor(images)

    inputs, output = name_inputs(images), tmp_path / "out"
    with pytest.raises(raised) as caught:
        predict_files(predictor, inputs, writers(output))
    assert re.search(text, f"{caught.value}\n{caplog.text}")
    assert len(json.loads((output / "predictions.json").read_text())["images"]) == 2


def test_class_names_in_the_table():
    text = PredictionSummary(images=1).table(["007", "1e5", "yes"])
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["007", "1e5", "yes"]


def test_id_map_mistakes(images, tmp_path):
    with pytest.raises(SegkitError, match=r"1 of the 1 images of the id map are .*: aa.png; did you mean '.*/a.png'"):
        name_inputs(images, [ImageEntry("aa.png", 1, None)])
    with pytest.raises(SegkitError, match="30 x 20 pixels, but the id map says 20 x 30"):
        name_inputs(images, [ImageEntry("a.png", 1, (30, 20))])
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "a.png"
    Image.new("RGB", (30, 20)).save(twin)
    with pytest.raises(SegkitError, match=r"both .*a.png and .*a.png .*'a.png' of the id map"):
        name_inputs([images[0], twin], [ImageEntry("a.png", 1, None)])
    assert list(name_inputs([images[0], twin], [ImageEntry("more/a.png", 1, None)]).values()) == [images[0], twin]


def test_an_overlay_never_replaces_an_input(images):
    folder = images[0].parent.rename(images[0].parent.with_name("overlays"))
    with pytest.raises(SegkitError, match="would replace an input"):
        predict_files(fake_predictor, name_inputs(sorted(folder.iterdir())), writers(folder.parent))


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
    about = {"config": cfg.to_dict(), "classes": CLASSES, "category_ids": IDS, "iteration": 0}
    torch.save({"model": segkit.build_model(cfg, 2).state_dict(), **about}, "model.pth")
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
        (["images"], "'modle.pth' does not exist; did you mean 'model.pth'"),
        (["imagse"], "'imagse' does not exist; did you mean 'images'"),
        (["images", "--id-map", "no.json"], "no.json' does not exist"),
        (["images", "--batch-size", "0"], "--batch-size must be at least 1"),
        ([".", "images"], "the folder '.' holds no images"),
        (["images", "--output", ""], "--output: the name of the folder is empty"),
        (["images", "--output", "model.pth"], "'model.pth' is a file, not a folder"),
        (["images", "--output", "images/a.png/x"], "is a file, not a folder"),
        (["images", "--output", "taken"], "--output: 'taken/predictions.json' is a folder"),
        (["images", "--device", "cuda"], "--device: 'cuda' was asked for"),
        (["images", "--device", "foo"], "--device: 'foo' is no"),
        (["images", "--score-threshold", "nan"], "must be a number in 0..1, best or best_overall, not nan"),
        (["images", "--weights", ""], "the path of the checkpoint is empty"),
        (["images", "--weights", "images"], "the checkpoint 'images' is a folder, not a file"),
        (["images", "--weights", "images/a.png"], "'images/a.png' is an image, not a checkpoint"),
        (["images", "--weights", "model.pth"], "'model.pth' is empty (0 bytes)"),
        (["images", "--weights", "x.yaml"], "x.yaml is a configuration, not a checkpoint"),
        (["images", "--id-map", ""], "the path of the id map is empty"),
        (["images", "--id-map", "images"], "the id map 'images' is a folder, not a file"),
        (["images", "--config-file", "model2.pth"], "'model2.pth' is not a text file but a checkpoint"),
    ],
)
def test_the_tools_mistakes(images, tmp_path, run, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("model.pth").write_bytes(b"")
    Path("model2.pth").write_bytes(b"PK\x03\x04\x80\xff")
    Path("x.yaml").write_text("output_dir: x")
    Path("taken/predictions.json").mkdir(parents=True)
    status, _, err = run("--weights", "modle.pth", "--output", "out", *arguments)
    assert status == 1 and message in err and "Traceback" not in err and not Path("out").exists()
