"""Curves by score, calibration and confusion, compared with matching again at each score and with hotcoco."""

import dataclasses

import numpy as np
import pytest
import torch

from segkit.evaluation import BoundaryEvaluator, CocoEvaluator
from segkit.evaluation.coco_matching import EvaluatedImage
from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.hotcoco_backend import HotcocoBackend
from segkit.evaluation.image_overlaps import DatasetOverlaps, image_overlaps
from segkit.evaluation.operating_point import count_detections
from segkit.evaluation.score_curves import ScoreCurve, calibration, confusion_matrix, match_all, score_curves
from segkit.evaluation.threshold_metrics import threshold_metric
from segkit.structures.sample import Batch
from segkit.utils.errors import SegkitError

from .helpers import detections, run, sample
from .test_unannotated import CLASSES, scene


def overlaps_of(batches, iou_type="segm", limit=300, classes=CLASSES):
    images = []
    for batch, [found] in batches:
        [one] = batch.samples
        image = EvaluatedImage.of(one.annotations, found, masks=iou_type == "segm")
        images.append(image_overlaps(one.image_id, image, iou_type))
    return DatasetOverlaps(images, classes, iou_type, limit)


def restricted(image, kept):
    """The image with some of its detections only."""
    pairs = image.overlaps
    return dataclasses.replace(
        image,
        overlaps=pairs.select(np.ones(len(image.object_labels), bool), kept),
        **{name: getattr(image, name)[kept] for name in ("labels", "scores", "boxes", "ignored_shares")},
    )


def matched_again(data, label, threshold, iou):
    """TP, FP and objects of the detections of a class (None: all) at a score threshold, matched by themselves."""
    true = false = objects = 0
    for image in data.images:
        high = restricted(image, image.scores >= threshold)
        found = match_detections(high, [iou], max_detections=data.max_detections)
        own = np.ones(len(high.labels), bool) if label is None else high.labels == label
        true += int((found.true_positives[0] & own).sum())
        false += int((found.false_positives[0] & own).sum())
        objects += len(image.object_labels) if label is None else int((image.object_labels == label).sum())
    return true, false, objects


@pytest.mark.parametrize("limit", [2, 300])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_one_matching_serves_all_thresholds(iou_type, limit):
    """Scenes with ties, crowds and ignore regions."""
    data = overlaps_of(scene(5), iou_type, limit)
    curves = score_curves(data, 0.4)
    assert [curve.name for curve in curves] == ["all", *CLASSES]
    for label, curve in zip([None, 0, 1, 2], curves, strict=True):
        assert (np.diff(curve.thresholds) < 0).all() and len(curve.thresholds) > 5
        f1 = []
        for t, threshold in enumerate(curve.thresholds):
            true, false, objects = matched_again(data, label, threshold, 0.4)
            assert (curve.precision[t], curve.recall[t]) == (true / (true + false), true / objects)
            f1.append(2 * true / (2 * true + false + objects - true))
        assert curve.objects == objects
        np.testing.assert_allclose(curve.f1, f1, atol=1e-15)
        assert curve.best_threshold == curve.thresholds[int(np.argmax(f1))]


@pytest.mark.parametrize(
    ("metric", "of_counts"),
    [
        ("F2", lambda tp, fp, fn: 5 * tp / (5 * tp + 4 * fn + fp)),
        ("F0.5", lambda tp, fp, fn: 1.25 * tp / (1.25 * tp + 0.25 * fn + fp)),
        ("cell_AP", lambda tp, fp, fn: tp / (tp + fp + fn)),
        ("precision@recall0.5", lambda tp, fp, fn: tp / (tp + fp) if tp / (tp + fn) >= 0.5 else np.nan),
        ("recall@precision0.5", lambda tp, fp, fn: tp / (tp + fn) if tp / (tp + fp) >= 0.5 else np.nan),
    ],
)
def test_metrics_of_counts(metric, of_counts):
    counts = np.array([[3, 1, 5], [4, 4, 4], [7, 9, 1], [8, 0, 0], [0, 2, 8]])
    precision = counts[:, 0] / (counts[:, 0] + counts[:, 1])
    recall = counts[:, 0] / (counts[:, 0] + counts[:, 2])
    expected = [of_counts(*map(int, row)) for row in counts]
    np.testing.assert_allclose(threshold_metric(metric, precision, recall), expected, atol=1e-15)


def test_a_recall_that_is_not_reached_has_no_threshold():
    data = overlaps_of(scene(5))
    assert score_curves(data, 0.9, "precision@recall1")[0].best_threshold is None
    reached = score_curves(data, 0.5, "precision@recall0.3")[0]
    assert reached.recall[reached.best_position] >= 0.3


@pytest.mark.parametrize("wrong", ["f1", "F", "F0", "AP", "precision@recall1.5", "precision", ""])
def test_an_unknown_metric(wrong):
    with pytest.raises(SegkitError, match=r"F1.*cell_AP") as caught:
        score_curves(overlaps_of(scene(1, images=1)), metric=wrong)
    assert caught.value.key == "metric"


@pytest.mark.parametrize("iou", [0, 1.5, float("nan"), True, "0.5"])
def test_an_iou_out_of_range(iou):
    with pytest.raises(SegkitError, match="iou_threshold"):
        score_curves(overlaps_of(scene(1, images=1)), iou)


def test_no_objects_and_no_detections():
    batch, [found] = next(iter(scene(1, images=1)))
    batch.samples[0].annotations.clear()
    without_objects = overlaps_of([(batch, [found])])
    [of_all, *_] = score_curves(without_objects)
    assert of_all.best_threshold is None and not of_all.recall.any() and not of_all.precision.any()
    assert confusion_matrix(without_objects, 0.0).counts[-1].sum() == len(found)
    batch, [found] = next(iter(scene(1, images=1)))
    nothing = overlaps_of([(batch, [found[:0]])])
    [of_all, *_] = score_curves(nothing)
    assert of_all.best_threshold is None and of_all.objects > 0 and not len(of_all.thresholds)
    assert np.isnan(calibration(nothing).error)
    assert confusion_matrix(nothing, 0.0).counts[:, -1].sum() == of_all.objects
    assert score_curves(DatasetOverlaps([], CLASSES, "segm", 100))[0].best_threshold is None


def test_calibration_equals_hotcoco():
    from hotcoco import metrics

    data = overlaps_of(scene(9, images=10))
    best = data.images[0]
    best.scores[np.flatnonzero(~match_detections(best, [0.5]).ignored[0])[0]] = 1.0  # in the last bin
    scores, true = [], []
    for image in data.images:
        found = match_detections(image, [0.5])
        scores += image.scores[~found.ignored[0]].tolist()
        true += found.true_positives[0][~found.ignored[0]].tolist()
    for bins in (1, 10, 15):
        expected = metrics.calibration_curve(scores, true, n_bins=bins)
        own = calibration(data, bins=bins)
        assert own.counts.tolist() == [one["count"] for one in expected]
        filled = own.counts > 0
        for values, name in ((own.scores, "avg_confidence"), (own.precision, "avg_accuracy")):
            np.testing.assert_allclose(values[filled], np.array([one[name] for one in expected])[filled], atol=1e-12)
            assert np.isnan(values[~filled]).all()
        assert own.error == pytest.approx(metrics.calibration_error(scores, true, n_bins=bins)[0], abs=1e-12)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_confusion_equals_hotcoco(seed, iou_type):
    from hotcoco import COCOeval

    generator = torch.Generator().manual_seed(seed)
    images, batches = [], []
    for batch, [found] in scene(seed, regions=0):
        [one] = batch.samples
        one.annotations[:] = [item for item in one.annotations if not item["iscrowd"]]
        # hotcoco orders equal scores as it likes.
        found.scores += torch.rand(len(found), generator=generator) / 1000
        batches.append((batch, [found]))
        images.append(EvaluatedImage.of(one.annotations, found, masks=iou_type == "segm"))
    loaded = HotcocoBackend().load(images, 3, masks=iou_type == "segm")
    evaluation = COCOeval(loaded.truth, loaded.found, iou_type)
    data = overlaps_of(batches, iou_type)
    for iou, score in ((0.3, 0.0), (0.5, 0.4)):
        expected = evaluation.confusion_matrix(iou_thr=iou, max_det=300, min_score=score)["matrix"]
        matrix = confusion_matrix(data, score, iou)
        assert matrix.counts.tolist() == expected.tolist()
        assert matrix.classes == CLASSES


def test_confusion_ignores_what_ap_ignores():
    data = overlaps_of(scene(3, regions=3))
    ignored = sum(int(((image.ignored_shares >= 0.5) & (image.scores >= 0)).sum()) for image in data.images)
    counts = confusion_matrix(data, 0.0).counts
    detections = sum(len(image.scores) for image in data.images)
    assert detections - ignored <= counts[:, :-1].sum() < detections
    assert counts[:-1].sum() == sum(len(image.object_labels) for image in data.images)
    assert counts[-1, -1] == 0


def test_f1_where_nothing_is_found():
    curve = ScoreCurve("all", np.array([0.9, 0.1]), np.array([0.0, 0.5]), np.array([0.0, 0.25]), 0.1)
    np.testing.assert_allclose(curve.f1, [0, 1 / 3])
    assert curve.best_position == 1


def test_a_score_written_like_the_threshold_reaches_it():
    size, box = (30, 30), [2, 2, 20, 20]
    pairs = [(Batch([sample(1, size, [(box, 0, False)])]), [detections([box], [0.7], [0], size)])]
    assert pairs[0][1][0].scores.double().item() < 0.7  # a float32
    data = overlaps_of(pairs, classes=["a"])
    assert confusion_matrix(data, 0.7).counts[0, 0] == 1
    matches = match_all(data, [0.5])
    assert count_detections(data, matches, 0, 0.7).true.tolist() == [1]
    for backend in ("hotcoco", "pycocotools"):
        evaluator = CocoEvaluator(["a"], [1], 100, score_thresholds=[0.7], backend=backend)
        assert run(evaluator, pairs)["segm/AP@score0.7"] == pytest.approx(1.0)
    assert run(BoundaryEvaluator(["a"], 100, score_threshold=0.7), pairs)["boundary/IoU"] == 1
