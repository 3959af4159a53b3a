"""AP and AR at other IoUs and ranges of areas equal those of pycocotools and those from overlaps."""

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from segkit.evaluation.average_precision import average_precisions, mean_ap
from segkit.evaluation.coco import CocoEvaluator
from segkit.utils.errors import SegkitError

from .helpers import coco_eval, problem, run
from .test_score_curves import overlaps_of
from .test_unannotated import CLASSES, scene

IDS = [1, 2, 3]
IOUS, TINY, MIDDLE = [0.6, 0.3], [0, 256], [100, 400.0]


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_equals_pycocotools(iou_type, backend):
    pairs = list(problem(3))
    ranges = {"tiny": TINY, "middle": MIDDLE}
    evaluator = CocoEvaluator(
        CLASSES, IDS, 100, iou_types=[iou_type], iou_thresholds=IOUS, area_ranges=ranges, backend=backend
    )
    metrics = run(evaluator, pairs)
    expected: COCOeval = coco_eval(pairs, iou_type, [100], 3)
    expected.params.iouThrs = np.array(sorted(IOUS))
    expected.params.areaRng = [[0, 1e10], TINY, MIDDLE]
    expected.params.areaRngLbl = ["all", *ranges]
    expected.evaluate()
    expected.accumulate()
    precision, recall = expected.eval["precision"][..., 0], expected.eval["recall"][..., 0]
    values = {"AP": precision[..., 0], "AP30": precision[0, ..., 0], "AP60": precision[1, ..., 0], "AR": recall[..., 0]}
    for a, name in enumerate(ranges, start=1):
        values |= {f"AP_{name}": precision[..., a], f"AR_{name}": recall[..., a]}
    for name, part in values.items():
        assert metrics[f"{iou_type}/{name}"] == pytest.approx(part[part > -1].mean(), abs=1e-12), name
    assert metrics.keys() <= set(evaluator.metric_names())
    assert f"{iou_type}/AP50" not in evaluator.metric_names() and f"{iou_type}/AP50-a" not in evaluator.metric_names()


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_equals_ap_from_overlaps_with_ignore_regions(iou_type, backend):
    batches = list(scene(7, images=8))
    evaluator = CocoEvaluator(
        CLASSES,
        IDS,
        300,
        iou_types=[iou_type],
        iou_thresholds=[0.25, 0.5],
        area_ranges={"mid": MIDDLE},
        backend=backend,
    )
    metrics = run(evaluator, batches)
    data = overlaps_of(batches, iou_type)
    for name, area_range in {"AP": (0, 1e10), "AP_mid": tuple(MIDDLE)}.items():
        expected = mean_ap(average_precisions(data, [0.25, 0.5], area_range=area_range))
        assert metrics[f"{iou_type}/{name}"] == pytest.approx(expected, abs=1e-12)
    assert metrics[f"{iou_type}/AP50-a"] == pytest.approx(average_precisions(data, [0.5])[0, 0], abs=1e-12)


def test_other_ranges_change_no_default_metric():
    pairs = list(problem(4))
    default = run(CocoEvaluator(CLASSES, IDS, 100), pairs)
    other = run(CocoEvaluator(CLASSES, IDS, 100, area_ranges={"huge": [1e5, float("inf")]}), pairs)
    assert other == default  # no object is as large


def test_a_score_threshold_without_an_iou_of_a_half():
    evaluator = CocoEvaluator(CLASSES, IDS, 100, iou_thresholds=[0.7], score_thresholds=[0.2])
    metrics = run(evaluator, list(problem(4)))
    assert metrics["segm/AP@score0.2"] <= metrics["segm/AP70"] == metrics["segm/AP"]
    assert "segm/AP50@score0.2" not in metrics


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"iou_thresholds": []}, "iou_thresholds"),
        ({"iou_thresholds": [0.5, 1.2]}, "at most 1"),
        ({"iou_thresholds": [0.5, 0.5]}, "different"),
        ({"area_ranges": {"small": [0, 5]}}, "'small' is no name"),
        ({"area_ranges": {"a/b": [0, 5]}}, "'a/b' is no name"),
        ({"area_ranges": {"tiny": [5, 5]}}, "tiny: expected the smallest"),
        ({"area_ranges": {"tiny": [5]}}, "tiny: expected the smallest"),
        ({"area_ranges": {"tiny": [-1, 5]}}, "tiny: expected the smallest"),
        ({"area_ranges": {"tiny": [0, 1024]}}, "tiny is the range of small"),
    ],
)
def test_mistakes(arguments, text):
    with pytest.raises(SegkitError, match=text) as caught:
        CocoEvaluator(CLASSES, IDS, 100, **arguments)
    assert caught.value.key in ("iou_thresholds", "area_ranges")
