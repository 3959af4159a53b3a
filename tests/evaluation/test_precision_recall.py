"""The evaluator PrecisionRecall: metrics at the best threshold, its file, several processes."""

import json

import numpy as np
import pytest

from segkit.evaluation import PrecisionRecall
from segkit.evaluation.precision_recall import MOST_POINTS
from segkit.evaluation.score_curves import calibration, confusion_matrix, score_curves
from segkit.evaluation.table import metrics_table
from segkit.registry import EVALUATOR_REGISTRY
from segkit.structures.sample import Batch
from segkit.utils.errors import SegkitError

from .helpers import detections, run, sample
from .test_score_curves import overlaps_of
from .test_unannotated import CLASSES, scene


def not_json(name):
    raise AssertionError(f"{name} is no JSON")


def test_metrics_are_those_at_the_best_threshold(tmp_path):
    batches = list(scene(5))
    evaluator = PrecisionRecall(CLASSES, 300, str(tmp_path), iou_threshold=0.4, metric="F2", bins=5)
    metrics = run(evaluator, batches)
    data = overlaps_of(batches)
    curves = score_curves(data, 0.4, "F2")
    for curve, suffix in zip(curves, ["", "-a", "-b", "-c"], strict=True):
        at = int(np.flatnonzero(curve.thresholds == curve.best_threshold)[0])
        assert metrics[f"segm/best_threshold{suffix}"] == curve.best_threshold
        for name, values in (("F1", curve.f1), ("precision", curve.precision), ("recall", curve.recall)):
            assert metrics[f"segm/{name}{suffix}"] == values[at]
    assert metrics["segm/ECE"] == calibration(data, iou_threshold=0.4, bins=5).error
    assert set(metrics) == set(evaluator.metric_names())
    best = evaluator.best_thresholds()
    assert best.overall == curves[0].best_threshold and best.metric == "F2" and best.iou_type == "segm"
    assert best.by_class == {curve.name: curve.best_threshold for curve in curves[1:]}
    content = json.loads((tmp_path / "precision_recall.json").read_text(), parse_constant=not_json)
    assert [one["name"] for one in content["curves"]] == ["all", *CLASSES]
    assert content["curves"][0]["thresholds"] == curves[0].thresholds.tolist()
    assert content["confusion"]["counts"] == confusion_matrix(data, best.overall, 0.4).counts.tolist()
    assert np.shape(content["precision_at_recalls"]["by_class"]["a"]) == (10, 101)


def test_a_long_curve_is_thinned_in_the_file_with_its_best_point(tmp_path):
    boxes = [[9 * (i % 60), 9 * (i // 60), 9 * (i % 60) + 8, 9 * (i // 60) + 8] for i in range(2400)]
    scores = np.linspace(0.9, 0.1, 2400)
    objects = [(box, 0, False) for box in boxes[:1203]]
    pair = (Batch([sample(1, (400, 600), objects)]), [detections(boxes, scores, [0] * 2400, (400, 600))])
    metrics = run(PrecisionRecall(["a"], 3000, str(tmp_path)), [pair])
    assert metrics["segm/best_threshold"] == np.float32(scores[1202]) and metrics["segm/F1"] == 1.0
    [curve, _] = json.loads((tmp_path / "precision_recall.json").read_text())["curves"]
    assert len(curve["thresholds"]) <= MOST_POINTS + 1
    assert metrics["segm/best_threshold"] in curve["thresholds"] and max(curve["f1"]) == 1.0
    assert curve["thresholds"][0] == np.float32(scores[0]) and curve["thresholds"][-1] == np.float32(scores[-1])


def test_two_processes(tmp_path):
    batches = list(scene(3))
    whole, *parts = (PrecisionRecall(CLASSES, 100, str(tmp_path)) for _ in range(3))
    expected = run(whole, batches)
    for i, (batch, found) in enumerate(batches):
        parts[i % 2].process(batch, found)
    parts[0].merge([part.results() for part in parts])
    assert parts[0].evaluate() == expected and parts[0].best_thresholds() == whole.best_thresholds()


def test_models_without_classes_or_masks():
    batches = list(scene(3))
    agnostic = PrecisionRecall(CLASSES, 100, class_agnostic=True)
    metrics = run(agnostic, batches)
    assert set(metrics) == {f"segm/{name}" for name in ("F1", "precision", "recall", "best_threshold", "ECE")}
    assert agnostic.best_thresholds().by_class == {"object": metrics["segm/best_threshold"]}
    boxes = PrecisionRecall(CLASSES, 100, predicts_masks=False, per_class=False)
    assert set(run(boxes, batches)) == {name.replace("segm", "bbox") for name in metrics}
    with pytest.raises(SegkitError, match="predicts no masks"):
        PrecisionRecall(CLASSES, 100, predicts_masks=False, iou_type="segm")


def test_boxes_of_a_model_with_masks_have_a_file_of_their_own(tmp_path):
    run(PrecisionRecall(CLASSES, 100, str(tmp_path), iou_type="bbox"), list(scene(3)))
    assert [path.name for path in tmp_path.iterdir()] == ["precision_recall_bbox.json"]


def test_no_detections_no_objects_no_threshold(tmp_path):
    batches = [(batch, [found[:0]]) for batch, [found] in scene(3)]
    evaluator = PrecisionRecall(CLASSES, 100, str(tmp_path))
    metrics = run(evaluator, batches)
    assert metrics["segm/F1"] == metrics["segm/recall-a"] == 0 and "segm/best_threshold" not in metrics
    assert evaluator.best_thresholds() is None
    json.loads((tmp_path / "precision_recall.json").read_text(), parse_constant=not_json)
    batches = list(scene(3))
    for batch, _ in batches:
        batch.samples[0].annotations.clear()
    assert run(evaluator, batches) == {} and evaluator.best_thresholds() is None
    assert run(evaluator, []) == {}


def test_a_class_without_objects_takes_the_overall_threshold():
    batches = list(scene(3))
    for batch, _ in batches:
        batch.samples[0].annotations[:] = [one for one in batch.samples[0].annotations if one["label"] != 1]
    evaluator = PrecisionRecall(CLASSES, 100)
    metrics = run(evaluator, batches)
    best = evaluator.best_thresholds()
    assert "segm/F1-b" not in metrics and set(best.by_class) == {"a", "c"}
    assert best.of_labels(CLASSES).tolist() == [best.by_class["a"], best.overall, best.by_class["c"]]


def test_arguments():
    runtime = {"classes": ["a"], "max_detections": 10, "results_dir": None, "class_agnostic": False}
    spec = {"name": "PrecisionRecall", "metric": "recall@precision0.9"}
    built = EVALUATOR_REGISTRY.build(spec, path="evaluators[0]", **runtime, category_ids=[1], predicts_masks=True)
    assert isinstance(built, PrecisionRecall)
    for wrong in ({"metric": "f1"}, {"iou_threshold": 2}, {"bins": 0}):
        with pytest.raises(SegkitError, match=next(iter(wrong))):
            PrecisionRecall(CLASSES, 100, **wrong)


def test_the_table_shows_the_threshold_as_it_is():
    table = metrics_table({"segm/AP": 0.5, "segm/best_threshold": 0.456, "segm/best_threshold-a": 0.25}, ["a"])
    assert "50.00" in table and "0.456" in table and "0.250" in table
