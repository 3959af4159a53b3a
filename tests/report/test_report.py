"""The page of a run, of several, and of runs that lack something: what is on it, and that nothing escapes."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from finished_runs import make_run
from page_parser import Page

from segkit.data.formats import build_dataset
from segkit.engine.finished_run import finished_run, open_finished_run
from segkit.report import ReportOptions, write_report
from segkit.utils.errors import SegkitError

EVIL = "<script>alert('x')</script>&\"c"
FEW = ReportOptions(images=1, resamples=20, measured_images=2)
SECTIONS = ["summary", "metrics", "errors", "slices", "scores", "labels", "curves", "speed", "data", "setup", "gallery"]


def made(runs, tmp_path, options=FEW) -> Page:
    text = write_report(runs, tmp_path / "page.html", options).read_text(encoding="utf-8")
    page = Page(text)
    assert page.errors == [] and page.stack == [], "tags that are not closed"
    assert len(page.ids) == len(set(page.ids)), "an id twice"
    assert all(a["href"][1:] in page.ids for _, a in page.tags if a.get("href", "").startswith("#"))
    urls = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href", "action", "srcset", "xlink:href")]
    assert all(url.startswith(("data:image/", "#")) for url in urls), "the page asks the network"
    assert "@import" not in text and not re.search(r"url\((?!#|[\"']?data:)", text)
    return page


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    return made([finished], tmp_path_factory.mktemp("page"))


def test_a_run_has_all_sections(page, finished):
    assert list(page.sections) == SECTIONS
    summary = page.sections["summary"]
    assert finished.name in summary and "4 validation images" in summary and "TinyNet" in summary
    assert "40 iterations (10.0 epochs) in 0:00:56 on cpu" in summary
    assert "bootstrap intervals" in summary and re.search(r"\[\d+\.\d, \d+\.\d\]", summary)
    assert len(page.find("div", "tile")) == 6
    assert "noscript" in [tag for tag, _ in page.tags]  # its style hides what does nothing without scripts
    assert {"AP75", "APs", "PQ", "AJI+"} <= set(page.sections["metrics"].split())


def test_without_scipy_only_the_metrics_of_cells_are_absent(finished, results_file, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    other = finished_run("other", results_file, finished.dataset)
    page = made([finished, other], tmp_path)
    assert "bootstrap intervals" in page.sections["summary"] and re.search(r"\[\d+\.\d, ", page.sections["summary"])
    assert "no metrics of cells" in page.sections["metrics"] and "segkit[cells]" in page.sections["metrics"]
    assert "AP50" in page.sections["comparison"] and "SciPy" not in page.sections["comparison"]


def test_curves_speed_and_environment_are_those_of_the_files(page):
    lines = [json.loads(a["data-xs"]) for _, a in page.tags if "data-xs" in a and a.get("data-name") == "training"]
    assert len(lines) == 2 and all(line[0] == 1 and line[-1] == 40 for line in lines)
    assert "loss <mask>" in page.sections["curves"]
    assert "0.2 s" not in page.sections["speed"] and "200 ms" in page.sections["speed"]
    assert "250 ms an image" in page.sections["speed"] and "10 %" in page.sections["speed"]
    assert "cpu: 2 threads, 2 processors" in page.sections["setup"] and "2.14.1" in page.sections["setup"]
    assert "model.backbone.name" in page.sections["setup"] and "train.iterations" in page.sections["setup"]


def test_the_data_are_described(page, finished):
    text = page.sections["data"]
    assert "in 2 measured images" in text and "checked" in text
    assert all(name in text for name in finished.dataset.classes)


def test_two_runs_stand_side_by_side(run_dir, tmp_path):
    make_run(tmp_path / "a/first", "solver.optimizer.lr=0.1", missed=0.5, seed=3)
    runs = [open_finished_run(run_dir), open_finished_run(tmp_path / "a/first")]
    page = made(runs, tmp_path)
    assert list(page.sections) == [SECTIONS[0], "comparison", *SECTIONS[1:]]
    assert "paired bootstrap" in page.sections["comparison"] and "segm/AP50" in page.sections["comparison"]
    assert "is worse than" in page.sections["comparison"] or "no difference shown" in page.sections["comparison"]
    assert len(page.find("svg", "intervals")) == 4  # of AP, and of three differences
    assert "a/first" in page.sections["summary"]  # the two have the same name
    assert "solver.optimizer.lr" in page.sections["setup"] and "0.002" in page.sections["setup"]
    assert {a["data-hides"] for a in page.find("button", "chip")} >= {"r0", "r1", "raw"}


def test_a_run_of_boxes_beside_one_with_further_evaluators(tmp_path):
    specs = "[{name: COCO, area_ranges: {tiny: [0, 64]}}, {name: Panoptic}, {name: LVIS}]"
    one = make_run(tmp_path / "one", f"evaluators={specs}")
    with open(one / "metrics.json", "a") as file:
        file.write('\n{"iteration": 40, "data/dropped": 3, "mine/score": 0.123, "segm/AP": 0.5}\n')
    two = make_run(tmp_path / "two", missed=0.9, masks=False)
    page = made([open_finished_run(one), open_finished_run(two)], tmp_path)
    text = page.sections["metrics"]
    for words in (
        "AP_tiny",
        "Metrics of panoptic quality",
        "masks, as in LVIS",
        "mean IoU of the matched pairs",
        "12.3",
    ):
        assert words in text, words
    assert "panoptic/PQ" in text and "dropped" not in text
    assert len(page.find("svg", "intervals")) == 4  # three differences of boxes, which both have
    assert "bbox/AP50" in page.sections["summary"] and "segm/AP50" in page.sections["summary"]
    markup = (tmp_path / "page.html").read_text()
    (names,) = re.findall(r"<svg[^>]*><title>AP of masks with its 95 % interval</title><desc>([^<]*)", markup)
    assert "one:" in names and "two:" not in names  # AP of boxes is no AP of masks
    assert "two is worse than one" in page.sections["comparison"]  # of 20 resamples none would be sure


def test_runs_of_other_data_are_refused(run_dir, tmp_path):
    first = open_finished_run(run_dir)
    for overrides, fact in (("data.val.num_images=3", "4 images"), ("data.val.seed=7", "objects")):
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        other = open_finished_run(make_run(tmp_path / "other", overrides))
        with pytest.raises(SegkitError, match=rf"side by side.*{fact}"):
            write_report([first, other], tmp_path / "page.html", FEW)
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(SegkitError, match="at least one run"):
        write_report([], tmp_path / "page.html", FEW)


def test_a_results_file_has_a_page_that_names_what_is_absent(coco_folder, tmp_path):
    dataset = build_dataset({"format": "coco", "images": str(coco_folder), "json": str(coco_folder / "data.json")})
    page = made([finished_run(EVIL, coco_folder / "results.json", dataset)], tmp_path)
    assert list(page.sections) == SECTIONS
    assert "results file" in page.sections["curves"] and "results file" in page.sections["setup"]
    assert "neither" in page.sections["speed"] and "no metrics of cells" in page.sections["metrics"]
    assert not page.find("script", "x") and len([t for t, _ in page.tags if t == "script"]) == len(page.find("script"))
    assert page.text.count(EVIL) >= 5  # names of the run and of a class: text, not markup
    assert not [a for a in page.find("img") if "onerror" in a]
    assert "onerror=alert" in page.text or "&lt;img" not in page.text


def test_a_run_without_its_files_has_a_page(run_dir, tmp_path):
    folder = shutil.copytree(run_dir, tmp_path / "bare")
    (folder / "metrics.json").unlink()
    (folder / "log.txt").unlink()
    page = made([open_finished_run(folder)], tmp_path, ReportOptions(images=1, resamples=0, checked_images=2))
    assert "no metrics.json" in page.sections["curves"] and "nor a log.txt" in page.sections["setup"]
    assert "There are no intervals: no resamples were asked for" in page.sections["summary"]
    assert "segkit dataset check" in page.sections["data"]


@pytest.mark.parametrize("found", [[], "boxes"])
def test_no_detections_or_no_masks(run_dir, tmp_path, found):
    folder = shutil.copytree(run_dir, tmp_path / "run")
    file = folder / "inference/coco_instances_results.json"
    if found:
        found = [{k: v for k, v in one.items() if k != "segmentation"} for one in json.loads(file.read_text())]
    file.write_text(json.dumps(found))
    page = made([open_finished_run(folder)], tmp_path)
    assert list(page.sections) == SECTIONS
    assert "bbox" in page.text or "boxes" in page.text


def test_validation_data_without_objects(tmp_path):
    data = {"images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}], "annotations": []}
    (tmp_path / "data.json").write_text(json.dumps(data | {"categories": [{"id": 1, "name": "a"}]}))
    (tmp_path / "a.png").write_bytes(b"")
    from PIL import Image

    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    one = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3], "score": 0.9}
    (tmp_path / "results.json").write_text(json.dumps([one]))
    dataset = build_dataset({"format": "coco", "images": str(tmp_path), "json": str(tmp_path / "data.json")})
    page = made([finished_run("results", tmp_path / "results.json", dataset)], tmp_path)
    for name in ("summary", "metrics", "errors", "scores", "labels"):
        assert "have no objects" in page.sections[name], name


def test_options_out_of_range(finished, tmp_path):
    with pytest.raises(SegkitError, match="images is -1"):
        ReportOptions(images=-1)


def test_a_full_disk_leaves_the_old_page(finished, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr("segkit.report.write.atomic_write", full)
    monkeypatch.setattr("segkit.report.write.analyse_runs", lambda runs, options: [])
    monkeypatch.setattr("segkit.report.write.render_report", lambda *arguments: "new")
    with pytest.raises(SegkitError, match=r"--output: '.*page\.html' cannot be written: No space left"):
        write_report([finished], tmp_path / "page.html", FEW)
    assert (tmp_path / "page.html").read_text() == "old"
