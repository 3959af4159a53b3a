"""``segkit dataset check``: what it prints, its exit status, its JSON, and mistakes in its arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from test_mend import writer  # noqa: F401  # a fixture

from segkit.cli.dataset.check import main, parse_arguments
from segkit.data.formats.parsing.file_errors import collect_errors, parse_each
from segkit.dataset_tools.check import KINDS, Report
from segkit.dataset_tools.check.coco_file import read_coco
from segkit.dataset_tools.check.report import VERSION, Fault
from segkit.dataset_tools.check.text import report_text
from segkit.utils.errors import SegkitError

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/check_data.md"


@pytest.fixture
def run(capsys):
    def command(*words):
        status = main(parse_arguments(list(map(str, words))))
        return status, capsys.readouterr().out

    return command


def test_a_clean_file(annotated, run):
    annotated.specs()
    status, out = run(annotated.root / "train.json", "--no-pixels", "--workers", 0)
    assert status == 0
    assert out.startswith("coco data of 4 images, 2 classes (cell, nucleus), 12 objects; no splits\nrecognised by: a")
    assert "recognised" not in run(annotated.root / "train.json", "--format", "coco", "--no-pixels", "--workers", 0)[1]
    assert "no faults" in out and "--no-pixels" in out


def test_a_file_with_faults(annotated, run, tmp_path):
    annotated.annotations[4]["bbox"] = "x"
    annotated.annotations[5]["bbox"] = [1, 1, 5, 5]
    annotated.specs()
    file = tmp_path / "new/faults.json"
    status, out = run(annotated.root, "--format", "coco", "--json", file, "--workers", 0, "--fix", tmp_path / "mended")
    assert status == 1
    rows = [line.split()[:3] for line in out.splitlines()]
    assert ["error", "invalid_annotation", "1"] in rows and ["warning", "mask_unlike_box", "1"] in rows
    assert "train1.png object 5 [train.json: annotations[4]]" in out and "the text 'x'" in out
    assert KINDS["invalid_annotation"].advice in out and "1 error, 1 warning, 0 notes" in out
    assert "mended: 1 mask_unlike_box" in out and (tmp_path / "mended/annotations").is_dir()
    content = json.loads(file.read_text())
    assert content["version"] == VERSION and content["counts"] == {"error": 1, "warning": 1, "note": 0}
    assert content["kinds"]["mask_unlike_box"]["count"] == 1 and content["fix"]["done"]["mask_unlike_box"] == 1
    assert content["splits"]["train"] == {"images": 4, "objects": 12, "classes": {"cell": 8, "nucleus": 4}}
    assert list(content) == [
        "version", "source", "format", "sentence", "pixels", "splits", "counts", "kinds", "notes", "fix", "faults",
    ]  # fmt: skip
    assert set(content["fix"]) == {"output", "format", "done", "remaining", "losses", "images", "objects"}
    assert all(
        f"`{key}`" in PAGE.read_text(encoding="utf-8") for key in [*content, *content["fix"], *content["faults"][0]]
    )
    fault = content["faults"][0]
    assert set(fault) == {"kind", "severity", "message", "split", "image", "object", "place"}
    assert fault["kind"] == "invalid_annotation" and fault["severity"] == "error" and fault["object"] == 5


def test_the_json_has_all_faults(tmp_path):
    report = Report("data", "coco", faults=[Fault("hole", f"hole {i}", "all", "ä.png", i) for i in range(50)])
    report.write_json(tmp_path / "a.json")
    assert [fault["object"] for fault in json.loads((tmp_path / "a.json").read_text())["faults"]] == list(range(50))
    text = report_text(report)
    assert "hole 2" in text and "hole 3" not in text and "47 more" in text
    Report("data", "coco").write_json(tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["faults"] == []


def test_a_file_is_named_once():
    report = Report("data", "yolo", faults=[Fault("unreadable_annotations", "l/a.txt:3: odd", place="/d/l/a.txt")])
    assert " /d/l/a.txt:3: odd" in report_text(report)


def test_the_json_is_refused_before_the_work(run, annotated, monkeypatch):
    annotated.specs()
    monkeypatch.setattr("segkit.dataset_tools.check.check_dataset", lambda *_, **__: pytest.fail("checked"))
    for file in (annotated.root, "/dev/null/faults.json"):
        with pytest.raises(SegkitError, match=f"--json: .*{annotated.root.name if file == annotated.root else 'null'}"):
            run(annotated.root, "--json", file)


def test_images_alone(run, tmp_path):
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    assert run(tmp_path, "--workers", 0)[1].startswith("image folder data of 1 image, no classes, 0 objects")


def test_nothing_can_be_read(run, annotated):
    annotated.specs()
    status, out = run(annotated.root, "--format", "yolo", "--workers", 0)
    assert status == 1 and out.startswith("nothing can be read as yolo data\n") and "unreadable_annotations" in out


def test_unusable_paths(run, tmp_path):
    for words, fact in (
        ([tmp_path / "nothing"], "nothing"),
        ([tmp_path], "empty"),
        ([tmp_path, "--format", "cocoo"], "did you mean 'coco'"),
    ):
        with pytest.raises(SegkitError, match=fact):
            run(*words)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(SegkitError, match=str(tmp_path)):
        run(tmp_path)
    with pytest.raises(SegkitError, match="not in the format 'coco'"):
        run(tmp_path, "--format", "coco")


def test_folders_that_cannot_be_read_or_written_to(annotated, run, tmp_path, monkeypatch):
    """One message, where a user without permission or space would see a traceback."""
    file = Path(annotated.specs()["train"]["json"])
    if os.path.exists("/dev/full"):
        (tmp_path / "1.records").symlink_to("/dev/full")
        with pytest.raises(SegkitError, match=r"1.records: cannot be written: No space left on device; .* TMPDIR"):
            read_coco(file, annotated.root / "images", "all", tmp_path)

    def iterdir(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(SegkitError, match=f"{annotated.root}: cannot be read: Permission denied"):
        run(annotated.root)


@pytest.mark.parametrize(
    "words", [["--workers", "-1"], ["--stride", "0"], ["--detections", "0"], ["--merge-classes"], ["--stirde", "4"], []]
)
def test_wrong_arguments(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["data", *words] if words else [])
    assert ended.value.code == 2
    assert (words[0] if words else "DATA") in capsys.readouterr().err


def test_readers_skip_files_only_while_errors_are_collected():
    def parse(name):
        if "bad" in name:
            raise SegkitError(f"{name}: broken")
        return name.upper()

    names = ["a", "bad", "c"]
    with pytest.raises(SegkitError, match="bad"):
        list(parse_each(names, parse))
    with collect_errors() as errors:
        assert list(parse_each(names, parse)) == ["A", "C"]
        with collect_errors() as inner:
            list(parse_each(["bad2"], parse))
    assert [error[:2] for error in errors] == [("bad", "bad: broken")] and inner[0].file == "bad2"
    with pytest.raises(SegkitError):
        list(parse_each(names, parse))
