"""Resampled metrics equal those of repeated images; intervals equal SciPy's and cover the true value."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from segkit.evaluation import CellEvaluator
from segkit.evaluation.average_precision import average_precisions, mean_ap
from segkit.evaluation.bootstrap import SIZES, bootstrap_intervals, prepare, resampled_metrics
from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.evaluation.overlaps import Overlaps
from segkit.evaluation.precision import COCO_IOUS, interpolated_precision
from segkit.evaluation.resampled_precision import rank_detections, resampled_precisions
from segkit.evaluation.resampling import resample_counts
from segkit.utils.errors import SegkitError

from .helpers import detections
from .test_unannotated import CLASSES, scene


class Collector(OverlapEvaluator):
    def metrics(self, data):
        return {}


def overlaps_of(batches, limit=300, **settings):
    evaluator = Collector(CLASSES, limit, **settings)
    for batch, found in batches:
        evaluator.process(batch, found)
    return evaluator.data


def simulated(rng, images, *, classes=1, objects=(1, 12), quality=0.0):
    """Overlaps of images that differ in difficulty; of each image some objects are found, with random IoUs."""
    made = []
    for i in range(images):
        m = int(rng.integers(*objects))
        easy = rng.normal()
        found = np.flatnonzero(rng.random(m) < 1 / (1 + np.exp(-1 - easy - quality)))
        ious = np.clip(rng.normal(0.75 + 0.05 * easy + 0.05 * quality, 0.12, len(found)), 0.05, 0.99)
        wrong = int(rng.poisson(1.5))
        labels = rng.integers(0, classes, m)
        areas, n = np.full(m, 1000.0), len(found) + wrong
        pairs = Overlaps(found, np.arange(len(found)), 2000 * ious / (1 + ious), areas, np.full(n, 1000.0))
        scores = np.concatenate([rng.beta(4, 2, len(found)), rng.beta(2, 3, wrong)])
        found_labels = np.concatenate([labels[found], rng.integers(0, classes, wrong)])
        boxes = np.zeros((m, 4)), np.zeros((n, 4))
        made.append(
            ImageOverlaps(
                i, (99, 99), pairs, labels, boxes[0], areas, np.arange(m), found_labels, scores, boxes[1], np.zeros(n)
            )
        )
    return DatasetOverlaps(made, [f"class{k}" for k in range(classes)], "segm", 100)


def repeated(data, counts):
    """The data with each image as often as a resample holds it, copies behind the image."""
    images = [image for image, n in zip(data.images, counts, strict=True) for _ in range(n)]
    return dataclasses.replace(data, images=images)


def untied(data):
    """The same with scores that differ in each image; images still share scores."""
    images = []
    for image in data.images:
        ranks = np.argsort(np.argsort(-image.scores, kind="stable"), kind="stable")
        images.append(dataclasses.replace(image, scores=1.0 - ranks / 64))
    return dataclasses.replace(data, images=images)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_without_resampling_metrics_are_those_of_the_whole_data(iou_type):
    data = overlaps_of(scene(7, images=8), iou_type=iou_type)
    values = resampled_metrics(prepare(data), np.zeros((1, 8), np.int64))
    for name, area_range in {"AP": (0, 1e10), **SIZES}.items():
        expected = average_precisions(data, area_range=area_range)
        if mean_ap(expected) is None:
            assert f"{iou_type}/{name}" not in values
            continue
        assert values[f"{iou_type}/{name}"][0] == pytest.approx(mean_ap(expected), abs=1e-12)
        if name == "AP":
            of_class = [values[f"{iou_type}/AP-{label}"][0] for label in CLASSES]
            assert of_class == pytest.approx(expected.mean(axis=0), abs=1e-12)
            assert values[f"{iou_type}/AP75"][0] == pytest.approx(expected[5].mean(), abs=1e-12)


@pytest.mark.parametrize("area", ["AP", "APs", "APm"])
def test_a_resample_is_the_data_with_repeated_images(area):
    data = untied(overlaps_of(scene(7, images=7)))
    area_range = {"AP": (0, 1e10), **SIZES}[area]
    counts = resample_counts(7, 12, 5)
    aps = resampled_metrics(prepare(data, cells_threshold=None), counts)[f"segm/{area}"][1:]
    for one, value in zip(counts, aps, strict=True):
        expected = mean_ap(average_precisions(repeated(data, one), area_range=area_range))
        assert value == pytest.approx(np.nan if expected is None else expected, abs=1e-12, nan_ok=True)


def test_copies_of_a_detection_follow_it_among_equal_scores():
    data = overlaps_of(scene(11, images=6))  # scores of 40 values: ties within images and between them
    assert any(len(np.unique(image.scores)) < len(image.scores) for image in data.images)
    matches = [match_detections(image, max_detections=300) for image in data.images]
    ranked = rank_detections(data, matches)
    counts = resample_counts(6, 10, 1)
    aps, recalls = resampled_precisions(ranked, counts)
    for r, one in enumerate(counts):
        for k, own in enumerate(ranked):
            copies, objects = one[own.images], int(one @ own.objects)
            for t in range(10):
                true, false = np.repeat(own.true[t], copies), np.repeat(own.false[t], copies)
                precision, recall = interpolated_precision(true, false, objects)
                assert aps[r, t, k] == pytest.approx(precision.mean(), abs=1e-12)
                assert recalls[r, t, k] == pytest.approx(recall, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_metrics_of_cells_are_the_evaluators(threshold):
    batches = list(scene(5, images=6, regions=1))
    evaluator = CellEvaluator(CLASSES, score_threshold=threshold)
    collector = Collector(CLASSES, 300)
    for batch, found in batches:
        [one] = found
        above = (one.scores >= threshold).tolist()
        boxes, scores, labels = (
            [value for value, kept in zip(values.tolist(), above, strict=True) if kept]
            for values in (one.boxes, one.scores, one.labels)
        )
        evaluator.process(batch, [detections(boxes, scores, labels, one.size)])
        collector.process(batch, found)
    intervals = bootstrap_intervals(collector.data, resamples=20, cells_threshold=threshold)
    expected = evaluator.evaluate()
    assert len(expected) > 20
    for name, value in expected.items():
        assert intervals[name].value == pytest.approx(value, abs=1e-12), name
    counts = evaluator.image_counts
    assert sum(one.objects for image in counts.values() for one in image.values()) > 0


def test_cells_of_a_resample_are_those_of_repeated_images():
    data = overlaps_of(scene(9, images=5))
    counts = resample_counts(5, 6, 2)
    values = resampled_metrics(prepare(data), counts)
    for r, one in enumerate(counts):
        expected = resampled_metrics(prepare(repeated(data, one)), np.ones((1, 5), np.int64))
        for name in ("cells/PQ", "cells/AJI", "cells/image_AP@0.5", "cells/count_error", "cells/dice", "cells/F1-a"):
            assert values[name][1 + r] == pytest.approx(expected[name][0], abs=1e-12), name


def test_the_result_depends_on_the_seed_and_not_on_threads():
    data = overlaps_of(scene(2, images=6))
    one, two, other = (bootstrap_intervals(data, resamples=50, seed=s, threads=t) for s, t in ((3, 1), (3, 2), (4, 1)))
    assert one == two and one != other
    assert resample_counts(5, 3, 0).tolist() == [[2, 1, 0, 1, 1], [0, 0, 1, 2, 2], [2, 0, 0, 1, 2]]
    assert resample_counts(5, 3, 0).tolist() == resample_counts(5, 9, 0)[:3].tolist()


def test_recall_has_scipys_percentile_interval():
    data = simulated(np.random.default_rng(0), 60)
    detections = prepare(data, score_threshold=0.4, cells_threshold=None).detections
    own = bootstrap_intervals(data, resamples=4000, score_threshold=0.4, cells_threshold=None)
    for name, statistic in {
        "recall": lambda t, f, o, axis=-1: t.sum(axis) / o.sum(axis),
        "F1": lambda t, f, o, axis=-1: 2 * t.sum(axis) / (t.sum(axis) + f.sum(axis) + o.sum(axis)),
    }.items():
        columns = (detections.true, detections.false, detections.objects)
        found = scipy.stats.bootstrap(
            columns, statistic, paired=True, vectorized=True, n_resamples=4000, method="percentile", rng=1
        )
        ends = found.confidence_interval
        assert own[f"segm/{name}"].low == pytest.approx(ends.low, abs=0.006)
        assert own[f"segm/{name}"].high == pytest.approx(ends.high, abs=0.006)


def test_edges():
    empty = simulated(np.random.default_rng(0), 0)
    assert bootstrap_intervals(empty, resamples=5) == {}
    single = bootstrap_intervals(simulated(np.random.default_rng(1), 1, objects=(5, 6)), resamples=5)
    assert all(one.low == one.value == one.high for one in single.values())
    no_objects = simulated(np.random.default_rng(2), 3, objects=(0, 1))
    assert bootstrap_intervals(no_objects, resamples=5) == {}
    blind = simulated(np.random.default_rng(3), 4)
    blind = dataclasses.replace(blind, images=[dataclasses.replace(
        image, overlaps=image.overlaps.select(np.ones(len(image.object_labels), bool), np.zeros(len(image.labels), bool)),
        labels=image.labels[:0], scores=image.scores[:0], boxes=image.boxes[:0], ignored_shares=image.ignored_shares[:0],
    ) for image in blind.images])  # fmt: skip
    found = bootstrap_intervals(blind, resamples=5)
    assert found["segm/AP"].value == found["segm/AR"].high == found["segm/F1"].value == 0
    many = bootstrap_intervals(simulated(np.random.default_rng(4), 3, objects=(1000, 1001)), resamples=5)
    assert 0 < many["segm/AP"].low <= many["segm/AP"].value


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"resamples": 0}, "resamples"),
        ({"seed": -1}, "seed"),
        ({"level": 95}, "level"),
        ({"score_threshold": 2}, "0..1"),
    ],
)
def test_wrong_arguments(settings, fact):
    with pytest.raises(SegkitError, match=fact):
        bootstrap_intervals(simulated(np.random.default_rng(0), 2), **settings)


@pytest.mark.slow
def test_intervals_cover_the_true_value():
    population = simulated(np.random.default_rng(0), 20_000)
    truth = {name: float(v[0]) for name, v in resampled_metrics(
        prepare(population, score_threshold=0.5), np.ones((1, 20_000), np.int64)).items()}  # fmt: skip
    names = ("segm/AP", "segm/AP50", "segm/F1", "segm/AR", "cells/PQ", "cells/count_error")
    covered = dict.fromkeys(names, 0)
    trials = 300
    for i in range(trials):
        data = simulated(np.random.default_rng(1000 + i), 100)
        found = bootstrap_intervals(data, resamples=400, seed=i, score_threshold=0.5)
        for name in names:
            covered[name] += found[name].low <= truth[name] <= found[name].high
    shares = {name: count / trials for name, count in covered.items()}
    print(shares)
    assert all(0.9 <= share <= 0.99 for share in shares.values()), shares


def test_matches_of_all_thresholds_are_used():
    data = simulated(np.random.default_rng(5), 20)
    found = bootstrap_intervals(data, resamples=30, cells_threshold=None)
    per_iou = average_precisions(data, COCO_IOUS)[:, 0]
    assert found["segm/AP50"].value == pytest.approx(per_iou[0])
    assert found["segm/AP75"].value == pytest.approx(per_iou[5])
    assert per_iou[0] > per_iou[5]
