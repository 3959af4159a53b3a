"""Runs made of results files: what they know of the data and of the model."""

from __future__ import annotations

import json

import pytest

from segkit.data.formats import build_dataset
from segkit.dataset_tools.comparison.intervals import results_intervals
from segkit.engine.finished_run import finished_run

SPEC = {"format": "synthetic", "num_images": 3, "seed": 1, "image_size": [64, 64], "max_size": 20}


@pytest.fixture
def dataset():
    return build_dataset(SPEC)


def perfect(dataset, path, **changes):
    """A results file with each object, at scores of 0.6."""
    found = []
    for index, image_id in enumerate(dataset.image_ids):
        for item in dataset.ground_truth(index, dataset.load(index)):
            one = {"image_id": image_id, "category_id": dataset.category_ids[item["label"]], "score": 0.6}
            found.append({**one, "bbox": item["bbox"], "segmentation": item["segmentation"], **changes})
    path.write_text(json.dumps(found))
    return path


def test_evaluators_know_the_frequencies_of_classes(dataset, tmp_path):
    dataset.frequencies = ["r"] + ["f"] * (len(dataset.classes) - 1)
    run = finished_run("mine", perfect(dataset, tmp_path / "results.json"), dataset)
    metrics = run.evaluate([{"name": "LVIS"}])
    assert metrics["lvis_segm/APr"] == metrics["lvis_segm/APf"] == pytest.approx(1.0)


def test_detections_without_a_class(dataset, tmp_path):
    assert len(dataset.classes) > 1
    results = perfect(dataset, tmp_path / "results.json", category_id=dataset.category_ids[0])
    run = finished_run("proposals", results, dataset, class_agnostic=True)
    assert run.evaluate([{"name": "COCO"}])["segm/AR"] == pytest.approx(1.0)
    assert run.overlaps().classes == ["object"]
    assert finished_run("classed", results, dataset).evaluate([{"name": "COCO"}])["segm/AR"] < 1


def test_intervals_are_of_the_evaluators_threshold(dataset, tmp_path, monkeypatch):
    results = perfect(dataset, tmp_path / "results.json")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"_BASE_: segkit://quickstart.yaml\ndata:\n  train: {json.dumps(SPEC)}\n  val: {json.dumps(SPEC)}\n"
    )
    low, high = (
        results_intervals(str(results), str(config), evaluators=[{"name": "Cells", "score_threshold": threshold}])
        for threshold in (0.5, 0.7)
    )
    assert "at score 0.7" in high and "at score 0.5" in low
    quality = [[line.split()[1] for line in text.splitlines() if "cells/PQ" in line] for text in (low, high)]
    assert quality == [["100.00"], ["0.00"]]
