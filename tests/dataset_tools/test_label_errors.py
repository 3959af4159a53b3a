"""``segkit dataset label-errors``: the list, the crops, the page, and the files that other tools open."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.cli.dataset.label_errors import KINDS as HELP_KINDS
from segkit.cli.main import main
from segkit.data.formats import Synthetic
from segkit.data.writers import WritableImage
from segkit.dataset_tools.label_errors import label_errors
from segkit.dataset_tools.source import open_data
from segkit.diagnosis.label_errors import KINDS
from segkit.evaluation import coco_results
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.detections import Detections
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

CLASSES = ["<b>cross</b>", "=ring", "star", "triangle"]
SWAPPED, REMOVED, INVENTED = 2, 3, 4  # ids of the images with a planted error


def annotated(targets, image_id):
    """The annotations of an image, one of them wrong in the images with a planted error."""
    if image_id == SWAPPED:
        targets.labels[0] = (targets.labels[0] + 1) % 4
    if image_id == REMOVED:
        return targets[1:]
    return targets


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A COCO data set with planted errors, and the detections of a good model."""
    folder = tmp_path_factory.mktemp("labels")
    data = Synthetic(
        num_images=16, image_size=(96, 96), seed=1, min_objects=5, max_objects=8, max_size=24, classes=CLASSES
    )
    runtime = {"output": folder / "data", "classes": data.classes, "category_ids": data.category_ids}
    (folder / "data").mkdir()
    results, rng = [], np.random.default_rng(0)
    with DATASET_WRITER_REGISTRY.build({"format": "coco"}, **runtime) as writer:
        for i in range(len(data)):
            sample = data.load(i)
            scores = torch.from_numpy(rng.uniform(0.8, 0.99, len(sample.targets)))
            known = slice(None) if i + 1 != INVENTED else slice(1, None)
            found = Detections.from_masks(sample.targets.masks, scores, sample.targets.labels.clone())
            results += coco_results(found[known], i + 1, data.category_ids)
            targets = annotated(sample.targets, i + 1)
            writer.write(WritableImage(f"a/{i}.png", i + 1, sample.size, targets, "val", sample=sample))
    (folder / "results.json").write_text(json.dumps(results))
    output = folder / "out"
    report = label_errors([str(folder / "results.json")], str(output), data=str(folder / "data"), top=5)
    return folder, output, report


def rows(output):
    with open(output / "label_errors.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_planted_errors_are_the_first(world):
    _, output, report = world
    listed = {(row["kind"], int(row["image_id"])) for row in rows(output)[:3]}
    assert listed == {("other_class", SWAPPED), ("missing_annotation", REMOVED), ("never_found", INVENTED)}
    assert [int(row["rank"]) for row in rows(output)] == list(range(1, len(report.errors) + 1))
    content = json.loads((output / "label_errors.json").read_text(encoding="utf-8"))
    assert content["found"] == report.found and len(content["errors"]) == len(report.errors) <= 5
    for row, entry in zip(rows(output), content["errors"], strict=True):
        assert float(row["score"]) == entry["score"] and row["reason"] == entry["reason"]
        assert (row["object"] == "") == (entry["object"] is None)


def test_texts_that_a_spreadsheet_would_run(world):
    texts = [row[key] for row in rows(world[1]) for key in ("annotated_class", "detected_class", "reason")]
    assert "'=ring" in texts and not any(text.startswith(("=", "@", "+")) for text in texts)


def test_crops_show_annotation_and_detection_in_two_colours(world):
    _, output, _ = world
    for row in rows(output):
        picture = np.asarray(Image.open(output / row["crop"]))
        orange = (picture == (255, 140, 0)).all(-1).sum()
        blue = (picture == (70, 170, 255)).all(-1).sum()
        assert (orange > 10) == (row["object"] != ""), row["crop"]
        if row["detection"]:
            assert blue > 10
    assert len(list((output / "crops").iterdir())) == len(rows(output))


def test_page_is_one_file_with_escaped_names(world):
    page = (world[1] / "index.html").read_text(encoding="utf-8")
    assert "<b>cross</b>" not in page
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    for kind in ("other_class", "missing_annotation", "never_found"):
        assert f"<option>{kind}</option>" in page
    assert not (world[1] / "INCOMPLETE.txt").exists()


@pytest.mark.parametrize("name", ["coco", "qupath", "labelme"])
def test_files_for_correction_are_read_back(world, name):
    folder, output, _ = world
    original = next(iter(open_data(str(folder / "data")).splits.values()))
    [(_, written)] = open_data(str(output / name)).splits.items()
    stems = {i: int(re.search(r"(\d+)\.\w+$", file)[1]) + 1 for i, file in enumerate(written.image_files())}
    seen = {}
    for i, image_id in stems.items():
        targets, before = written.load(i).targets, original.load(image_id - 1).targets
        names = [written.classes[k] for k in targets.labels.tolist()]
        seen[image_id] = names
        marked = [k for k, one in enumerate(names) if ": " in one]
        kept = [k for k in range(len(names)) if k not in marked]
        areas = before.masks.areas().tolist()
        assert set(targets.masks.areas()[kept].tolist()) <= set(areas)  # other annotations stay as they are
    [other] = [one for one in seen[SWAPPED] if one.startswith("other_class: ")]
    [suggested] = [one for one in seen[SWAPPED] if one.startswith("suggestion: ")]
    assert other.removeprefix("other_class: ") == suggested.removeprefix("suggestion: ")
    assert [one.split(":")[0] for one in seen[REMOVED] if ": " in one] == ["missing_annotation"]
    assert [one.split(":")[0] for one in seen[INVENTED] if ": " in one] == ["never_found"]
    assert len(seen[REMOVED]) == len(original.load(REMOVED - 1).targets) + 1


def test_marked_masks_are_exact(world):
    folder, output, report = world
    results = json.loads((folder / "results.json").read_text())
    [missing] = [error for error in report.errors if error.kind == "missing_annotation"]
    expected = [one for one in results if one["image_id"] == REMOVED][missing.detection]["segmentation"]
    content = json.loads((output / "coco" / "annotations" / "instances_val.json").read_text())
    [marked] = [c["id"] for c in content["categories"] if c["name"].startswith("missing_annotation")]
    [entry] = [one for one in content["annotations"] if one["category_id"] == marked]
    assert entry["image_id"] == REMOVED and entry["segmentation"] == expected


def test_qupath_has_the_kind_as_class(world):
    names = set()
    for file in (world[1] / "qupath").rglob("*.geojson"):
        for feature in json.loads(file.read_text(encoding="utf-8"))["features"]:
            names.add(feature["properties"]["classification"]["name"].split(":")[0])
    assert {"other_class", "missing_annotation", "never_found", "suggestion"} <= names


def test_the_written_data_pass_the_check(world, capsys, tmp_path):
    assert main(["dataset", "check", str(world[1] / "coco"), "--workers", "0"]) == 0
    main(["dataset", "show", str(world[1] / "coco"), "--output", str(tmp_path / "page.html")])
    assert "missing_annotation" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_command_prints_what_it_found(world, capsys, tmp_path):
    folder, _, _ = world
    words = ["dataset", "label-errors", folder / "results.json", "--data", folder / "data", "--output", tmp_path / "x"]
    main([*map(str, words), "--top", "2"])
    printed = capsys.readouterr().out
    assert "2 of " in printed and "--top lists more" in printed
    assert "losses are not measured" in printed


def test_chosen_kinds(world, tmp_path):
    folder, _, _ = world
    report = label_errors(
        [str(folder / "results.json")], str(tmp_path / "x"), data=str(folder / "data"), kinds=["other_class"]
    )
    assert [(error.kind, error.image_id) for error in report.errors] == [("other_class", SWAPPED)]
    assert list(KINDS) == list(HELP_KINDS)


def test_no_errors(world, tmp_path):
    folder, _, _ = world
    report = label_errors([str(folder / "results.json")], str(tmp_path / "x"), data=str(folder / "data"), min_score=1.0)
    assert report.errors == [] and "no probable label errors" in report.text()
    assert rows(tmp_path / "x") == [] and (tmp_path / "x" / "index.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["results.json"], "--data"),
        (["results.json", "--data", "data", "--split", "vla"], "no split 'vla'"),
        (["results.json", "--data", "data", "--weights", "x.pth"], "--weights belongs to a run"),
        (
            ["results.json", "--data", "data", "--kind", "never_fond"],
            "no kind 'never_fond'; did you mean 'never_found'",
        ),
        (["data"], "is no run"),
        (["data", "--data", "data"], "--data belongs to a results file"),
        (["data", "data", "--weights", "x.pth"], "one run"),
        (["nothing"], "nothing"),
        (["data/annotations/instances_val.json", "--data", "data"], "looks like ground truth"),
    ],
)
def test_mistakes(world, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(world[0])
    output = tmp_path / "x"
    with pytest.raises(SegkitError, match=message):
        main(["dataset", "label-errors", *words, "--output", str(output)])
    assert not output.exists()


@pytest.mark.parametrize("words", [["--top", "0"], ["--min-score", "2"], []])
def test_wrong_arguments(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["dataset", "label-errors", *(["run"] if words else []), *words])


def test_output_with_files_is_refused_before_the_work(world):
    folder, output, _ = world
    with pytest.raises(SegkitError, match="has files"):
        label_errors([str(folder / "nothing.json")], str(output), data=str(folder / "data"))


def test_an_interrupted_command_says_so(world, tmp_path, monkeypatch):
    folder, _, _ = world

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("segkit.dataset_tools.label_errors.run.crop_picture", fail)
    with pytest.raises(KeyboardInterrupt):
        label_errors([str(folder / "results.json")], str(tmp_path / "x"), data=str(folder / "data"))
    assert (tmp_path / "x" / "INCOMPLETE.txt").is_file()
    assert not (tmp_path / "x" / "label_errors.csv").exists()


def test_targets_need_no_masks():
    from segkit.dataset_tools.label_errors.flagged import targets_of

    truth = [
        {"bbox": [1.0, 2.0, 3.0, 4.0], "segmentation": None, "area": 12.0, "iscrowd": 0, "label": 1},
        {"bbox": [5.0, 5.0, 2.0, 2.0], "segmentation": None, "area": 4.0, "iscrowd": 1, "label": -1},
    ]
    found = targets_of(truth, (20, 30))
    assert found.masks is None and found.boxes.tolist() == [[1, 2, 4, 6], [5, 5, 7, 7]]
    assert found.crowd.tolist() == [False, True]
    assert isinstance(targets_of([], (4, 4)), Targets)
