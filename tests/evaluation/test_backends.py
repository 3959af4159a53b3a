"""hotcoco and pycocotools give the same metrics, and either is enough."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

from segkit.evaluation import CocoEvaluator
from segkit.structures.sample import Batch
from segkit.utils.errors import SegkitError

from .helpers import detections, problem, run, sample

CLASSES, IDS = ["a", "b", "c"], [7, -3, 10**10]


def both(pairs, limit=100, **options):
    """The metrics of the two back ends, once they are found equal."""
    pairs = list(pairs)
    fast, slow = (
        run(CocoEvaluator(CLASSES, IDS, limit, backend=name, **options), pairs) for name in ("hotcoco", "pycocotools")
    )
    assert list(fast) == list(slow)
    for key, value in fast.items():
        assert slow[key] == pytest.approx(value, abs=1e-9), key
    return fast


def without_masks(pairs, share, seed):
    """The pairs, a share of whose objects loses its mask."""
    rng = np.random.default_rng(seed)
    for batch, found in pairs:
        (item,) = batch.samples
        truth = [{**t, "segmentation": None} if rng.random() < share else t for t in item.annotations]
        yield Batch([dataclasses.replace(item, annotations=truth)]), found


@pytest.mark.parametrize(
    ("seed", "limit", "world", "options"),
    [
        (0, 100, {}, {}),
        (1, 1, {"ties": False}, {"per_class": False}),
        (2, 300, {"images": 3, "most_objects": 60, "most_detections": 320}, {}),
        (3, 17, {}, {"iou_types": ["bbox"]}),
        (4, 100, {}, {"iou_types": ["segm", "bbox"], "score_thresholds": [0.3, 0.9, 1.0]}),
        (5, 50, {"most_detections": 120}, {"class_agnostic": True}),
    ],
)
def test_both_return_the_same_metrics(seed, limit, world, options):
    metrics = both(problem(seed, **world), limit, **options)
    assert any(value > 0 for value in metrics.values())
    assert any(key.endswith("-a") for key in metrics) == (not options.keys() & {"per_class", "class_agnostic"})


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_both_ignore_the_regions_of_objects_without_masks(share):
    metrics = both(without_masks(problem(6), share, seed=6))
    assert metrics["bbox/AP"] > 0 and ("segm/AP" in metrics) == (share < 1)


def test_both_take_polygons_as_ground_truth():
    def as_polygons(item):
        corners = [(x, y, x + w, y + h) for x, y, w, h in (t["bbox"] for t in item.annotations)]
        truth = [
            {**t, "iscrowd": 0, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
            for t, (x0, y0, x1, y1) in zip(item.annotations, corners, strict=True)
        ]
        return dataclasses.replace(item, annotations=truth)

    pairs = [(Batch([as_polygons(*batch.samples)]), found) for batch, found in problem(7)]
    assert both(pairs)["segm/AP"] > 0


def test_both_handle_empty_cases():
    size, objects = (30, 40), [([2, 2, 9, 9], 0, False), ([1, 1, 20, 20], 1, True)]
    nothing, one = detections([], [], [], size), detections([[2, 2, 9, 9]], [0.9], [0], size)
    truth, empty, crowd = sample(1, size, objects), sample(2, size), sample(3, size, objects[1:])
    assert both([(Batch([truth]), [nothing])], score_thresholds=[0.5])["segm/AP@score0.5"] == 0
    assert both([(Batch([truth]), [one]), (Batch([empty]), [one])])["segm/AP-a"] == pytest.approx(1.0)
    assert both([(Batch([empty]), [one]), (Batch([crowd]), [one])]) == {}
    assert both([(Batch([truth]), [one])], score_thresholds=[1.0])["bbox/AP@score1"] == 0


def test_pycocotools_prints_nothing(capsys):
    run(CocoEvaluator(CLASSES, IDS, 100, backend="pycocotools"), problem(8))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["absent", "broken", "old"])
def test_without_hotcoco_pycocotools_evaluates(monkeypatch, caplog, tmp_path, kind):
    pairs = list(problem(9))
    expected = run(CocoEvaluator(CLASSES, IDS, 100), pairs)
    facts = hide_hotcoco(monkeypatch, tmp_path, kind)
    with caplog.at_level(logging.INFO):
        evaluator = CocoEvaluator(CLASSES, IDS, 100)
    (line,) = caplog.messages
    assert all(fact in line for fact in (*facts, "pycocotools"))
    assert run(evaluator, pairs) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(SegkitError) as caught:
        CocoEvaluator(CLASSES, IDS, 100, backend="hotcoco")
    assert caught.value.key == "backend" and all(fact in str(caught.value) for fact in (*facts, "pip install"))


def hide_hotcoco(monkeypatch, folder, kind):
    """Makes hotcoco absent or useless; returns what a message must say of it."""
    if kind == "old":
        module = types.ModuleType("hotcoco")
        module.COCO = object
        monkeypatch.setitem(sys.modules, "hotcoco", module)
        return "hotcoco", "1.2"
    if kind == "absent":
        monkeypatch.setitem(sys.modules, "hotcoco", None)
        return ("hotcoco is not installed",)
    (folder / "hotcoco.py").write_text("raise OSError('no such symbol')")
    monkeypatch.delitem(sys.modules, "hotcoco", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    return "hotcoco", "no such symbol"


def test_neither_is_an_error_before_anything_is_evaluated(monkeypatch):
    for name in ("hotcoco", "pycocotools", "pycocotools.cocoeval", "pycocotools.mask"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SegkitError, match=r"hotcoco.*pycocotools"):
        CocoEvaluator(CLASSES, IDS, 100)


def test_the_choice_survives_pickling():
    evaluator = CocoEvaluator(CLASSES, IDS, 100, backend="pycocotools")
    assert pickle.loads(pickle.dumps(evaluator)).backend.name == "pycocotools"


def test_the_libraries_are_imported_when_an_evaluator_is_built():
    code = "import sys, segkit.evaluation; print({'hotcoco', 'pycocotools'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_another_name_is_an_error():
    with pytest.raises(SegkitError, match=r"backend.*hotcoco.*pycocotools.*'coco'"):
        CocoEvaluator(CLASSES, IDS, 100, backend="coco")  # type: ignore[arg-type]
