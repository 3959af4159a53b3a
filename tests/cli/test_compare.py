"""``segkit compare`` and ``segkit eval --intervals`` on small results."""

import csv
import io
import json
import shutil

import pytest
import torch
import yaml

from segkit.cli.main import main
from segkit.data.formats import Synthetic
from segkit.data.writers import WritableImage
from segkit.dataset_tools.comparison.runs import open_groups
from segkit.evaluation import coco_results
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError

CONFIG = """
_BASE_: segkit://quickstart.yaml
output_dir: {output}
train: {{seed: {seed}}}
solver: {{optimizer: {{lr: {lr}}}}}
data:
  num_workers: 0
  train: {{format: coco, json: {folder}/annotations/instances_val.json, images: {folder}/images/val}}
  val: {{format: coco, json: {folder}/annotations/instances_val.json, images: {folder}/images/val}}
"""


def results(data, missing):
    """Results without the first objects of each image."""
    found = []
    for i in range(len(data)):
        sample = data.load(i)
        targets = sample.targets[torch.arange(missing(i), len(sample.targets))]
        scores = torch.linspace(0.9, 0.6, len(targets))
        found += coco_results(Detections.from_masks(targets.masks, scores, targets.labels), i + 1, data.category_ids)
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Data, runs good_0, good_1 and poor_0, poor_1 (seeds), and one with the class name <b>|&."""
    folder = tmp_path_factory.mktemp("compare")
    data = Synthetic(num_images=8, image_size=(64, 64), seed=0, min_objects=4, max_objects=6, max_size=16)
    runtime = {"output": folder / "data", "classes": data.classes, "category_ids": data.category_ids}
    (folder / "data").mkdir()
    with DATASET_WRITER_REGISTRY.build({"format": "coco"}, **runtime) as writer:
        for i in range(len(data)):
            sample = data.load(i)
            writer.write(WritableImage(f"{i}.png", i + 1, sample.size, sample.targets, "val", sample=sample))
    for name, seed, lr, missing in (
        ("good_0", 0, 0.01, lambda i: i % 4 == 0),
        ("good_1", 1, 0.01, lambda i: i % 3 == 0),
        ("poor_0", 0, 0.02, lambda i: 2 + i % 2),
        ("poor_1", 1, 0.02, lambda i: 2),
    ):
        run = folder / name
        (run / "inference").mkdir(parents=True)
        (run / "config.yaml").write_text(CONFIG.format(output=run, seed=seed, lr=lr, folder=folder / "data"))
        (run / "inference" / "coco_instances_results.json").write_text(json.dumps(results(data, missing)))
    return folder


@pytest.fixture
def compare(world, monkeypatch, capsys):
    monkeypatch.chdir(world)

    def run(*words):
        assert main(["compare", *words, "--resamples", "50"]) == 0
        return capsys.readouterr().out

    return run


def test_two_runs(compare):
    printed = compare("poor_0", "good_0")
    assert "good_0 is better than poor_0 by" in printed and "segm/AP50" in printed and "cells/PQ" in printed
    keys = [line.split() for line in printed.splitlines() if "solver.optimizer.lr" in line]
    assert keys == [["solver.optimizer.lr", "0.02", "0.01"]]
    assert "Images that differ the most" in printed and "images; runs: poor_0: 1, good_0: 1" in printed


def test_seeds_are_grouped_by_configuration_and_by_commas(compare, world):
    automatic = compare("poor_0", "good_0", "good_1", "poor_1", "--metric", "AP")
    assert "good is better than poor by" in automatic and "runs: poor: 2, good: 2" in automatic
    named = compare("bad=poor_0,poor_1", "good_0,good_1", "--metric", "AP")
    assert "good is better than bad by" in named
    assert automatic.replace("poor", "bad").split("-----")[1] == named.split("-----")[1]
    assert [group.name for group in open_groups(["poor_0", "poor_1"])] == [
        "poor_0",
        "poor_1",
    ]  # nothing else to compare
    apart = open_groups(["poor_0", "poor_1", "good_0"], separate=True)
    assert [len(group.runs) for group in apart] == [1, 1, 1]


def test_files(compare, world):
    shutil.copytree(world / "good_0", world / "a_b&<i>", dirs_exist_ok=True)
    shutil.copytree(world / "poor_0", world / "+poor|", dirs_exist_ok=True)
    for suffix in (".csv", ".md", ".json", ".tex"):
        compare("+poor|", "a_b&<i>", "--output", f"table{suffix}")
    rows = list(csv.DictReader(io.StringIO((world / "table.csv").read_text())))
    content = json.loads((world / "table.json").read_text())
    assert [row["metric"] for row in rows] == [one["metric"] for one in content["differences"]]
    assert float(rows[0]["low"]) == content["differences"][0]["interval"]["low"]
    assert rows[0]["first_run"] == "'+poor|" and len(content["images"]) == 8
    markdown = (world / "table.md").read_text()
    assert r"a\_b&#38;&#60;i&#62;" in markdown and "<i>" not in markdown and r"+poor\|" in markdown
    table = [line for line in markdown.splitlines() if line.startswith("| segm/AP ")]
    assert table and table[0].replace(r"\|", "").count("|") == 8
    latex = (world / "table.tex").read_text()
    assert r"a\_b\&\textless{}i\textgreater{}" in latex and r"\begin{tabular}{lrrrrrl}" in latex


def test_results_files(compare, world):
    files = [f"{name}/inference/coco_instances_results.json" for name in ("poor_1", "good_0")]
    printed = compare(f"poor={files[0]}", f"good={files[1]}", "--data", "data", "--boxes")
    assert "good is better than poor by" in printed and "bbox/AP" in printed and "segm" not in printed
    assert "which keys differ is not known" in printed


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["good_0"], ["two or more", "good_0"]),
        (["good_0", "good_3"], ["good_3", "does not exist"]),
        (["good_0", "data"], ["data is no run", "config.yaml"]),
        (["good_0", "./good_0"], ["twice"]),
        (["good_0", "good_1/inference/coco_instances_results.json"], ["--data"]),
        (["good_0", "poor_0", "--metric", "APP"], ["APP", "AP"]),
        (["good_0", "poor_0", "--output", "x.html"], ["x.html", ".csv"]),
        (["good_0", "poor_0", "--output", "good_0/config.yaml/x.md"], ["--output", "config.yaml' is a file"]),
        (["good_0", "unfinished"], ["has not been evaluated", "segkit eval"]),
        (["good_0", "smaller"], ["images differ", "1 image only in good_0", "ids 8"]),
    ],
)
def test_mistakes(world, monkeypatch, words, facts):
    monkeypatch.chdir(world)
    for name in ("unfinished", "smaller"):
        shutil.copytree(world / "poor_0", world / name, dirs_exist_ok=True)
    (world / "unfinished/inference/coco_instances_results.json").unlink()
    content = json.loads((world / "data/annotations/instances_val.json").read_text())
    content["images"] = [one for one in content["images"] if one["id"] != 8]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 8]
    (world / "smaller.json").write_text(json.dumps(content))
    cfg = yaml.safe_load((world / "smaller/config.yaml").read_text())
    cfg["data"]["val"]["json"] = str(world / "smaller.json")
    (world / "smaller/config.yaml").write_text(yaml.safe_dump(cfg))
    found = json.loads((world / "poor_0/inference/coco_instances_results.json").read_text())
    found = [one for one in found if one["image_id"] != 8]
    (world / "smaller/inference/coco_instances_results.json").write_text(json.dumps(found))
    with pytest.raises(SegkitError) as error:
        main(["compare", *words])
    assert all(fact in str(error.value) for fact in facts), str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a", "b", "--level", "95"],
        ["a", "b", "--resamples", "0"],
        ["a", "b", "--score-threshold", "3"],
        ["a", "--split", "x"],
    ],
)
def test_wrong_command_lines(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(["compare", *words])
    assert end.value.code == 2 and "error" in capsys.readouterr().err


def test_intervals_of_a_results_file(world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    words = ["eval", "good_0/inference/coco_instances_results.json", "--data", "data"]
    assert main(words) == 0
    plain = capsys.readouterr().out
    assert main([*words, "--intervals"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(plain) and "bootstrap" not in plain and "8 images" in printed
    [row] = [line.split() for line in printed.splitlines() if line.split()[:1] == ["segm/AP50"]]
    assert float(row[2]) <= float(row[1]) <= float(row[3])
    assert f" {row[1]}" in plain
