"""Finished runs on a few synthetic images, made without training: detections are the objects, some of them changed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for finished_runs.py and page_parser.py
from finished_runs import make_run

from segkit.engine.finished_run import open_finished_run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory) -> Path:
    """The folder of a run with metrics and a log."""
    return make_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="session")
def finished(run_dir):
    """The run in that folder, opened."""
    return open_finished_run(run_dir)


@pytest.fixture
def results_file(run_dir, tmp_path) -> Path:
    """The run's results in a file outside of its folder."""
    path = tmp_path / "results.json"
    path.write_text((run_dir / "inference/coco_instances_results.json").read_text())
    return path


@pytest.fixture
def coco_folder(tmp_path) -> Path:
    """A COCO file with hostile names of files and classes, and a results file of it."""
    square = [[2.0, 2.0, 2.0, 12.0, 12.0, 12.0, 12.0, 2.0]]
    names = ["<img src=x onerror=alert(1)>.png", "a&b'\".png"]
    from PIL import Image

    images, annotations, results = [], [], []
    for i, name in enumerate(names, start=1):
        Image.new("RGB", (24, 20), (90, 90, 90)).save(tmp_path / name)
        images.append({"id": i, "file_name": name, "width": 24, "height": 20})
        one = {"image_id": i, "category_id": i, "bbox": [2, 2, 10, 10]}
        annotations.append({**one, "id": i, "segmentation": square, "area": 100, "iscrowd": 0})
        results.append({**one, "score": 0.9 / i})
        results.append({"image_id": i, "category_id": 3 - i, "bbox": [13, 5, 8, 8], "score": 0.95})
    classes = ["<script>alert('x')</script>&\"c", "b"]
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    (tmp_path / "data.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path
