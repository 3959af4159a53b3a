"""Paired comparisons: of models that differ, of equal ones, over seeds, and of runs that cannot be compared."""

import dataclasses

import numpy as np
import pytest

from segkit.diagnosis.comparison import Difference, RunGroup, compare_runs, holm
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.evaluation.intervals import Interval
from segkit.evaluation.overlaps import Overlaps
from segkit.utils.errors import SegkitError

FAST = {"resamples": 200, "cells_threshold": None, "score_threshold": 0.5}


def run(seed, images=40, *, found=0.7, truth=0, classes=("a",), first_id=0):
    """A model that finds a share of the objects; the ground truth depends on ``truth`` only."""
    objects, model = np.random.default_rng(truth), np.random.default_rng(1000 + seed)
    made = []
    for i in range(images):
        m = int(objects.integers(1, 12))
        ease = objects.normal()  # of the image, for all models
        hits = np.flatnonzero(model.random(m) < 1 / (1 + np.exp(-(np.log(found / (1 - found)) + ease))))
        n = len(hits) + int(model.poisson(1))
        ious = model.uniform(0.5, 0.99, len(hits))
        areas = np.full(m, 1000.0)
        pairs = Overlaps(hits, np.arange(len(hits)), 2000 * ious / (1 + ious), areas, np.full(n, 1000.0))
        scores = np.where(np.arange(n) < len(hits), model.beta(4, 2, n), model.beta(2, 3, n))
        zeros = np.zeros(max(m, n), np.int64)
        boxes = np.zeros((m, 4)) + np.arange(m)[:, None], np.zeros((n, 4))
        made.append(
            ImageOverlaps(
                first_id + i, (9, 9), pairs, zeros[:m], boxes[0], areas, np.arange(m), zeros[:n], scores, boxes[1], np.zeros(n)
            )
        )  # fmt: skip
    return DatasetOverlaps(made, list(classes), "segm", 100)


def groups(*runs):
    return [RunGroup(f"run{i}", {"only": one}) for i, one in enumerate(runs)]


def of(comparison, metric):
    return [one for one in comparison.differences if one.metric == f"segm/{metric}"]


def test_a_better_model_is_better():
    comparison = compare_runs(groups(run(0, found=0.4), run(1, found=0.85)), **FAST)
    [ap] = of(comparison, "AP")
    assert ap.verdict == "better" and ap.share_above == 1 and ap.p_value == pytest.approx(2 / 201)
    first, second = comparison.metrics["segm/AP"]
    assert ap.interval.value == pytest.approx(second.value - first.value)
    assert ap.sentence.startswith(f"run1 is better than run0 by {100 * ap.interval.value:.1f} segm/AP (95 % interval ")
    [back] = of(compare_runs(groups(run(1, found=0.85), run(0, found=0.4)), **FAST), "AP")
    assert back.verdict == "worse" and back.interval.value == pytest.approx(-ap.interval.value)
    assert back.interval.low == pytest.approx(-ap.interval.high)
    assert f"by {100 * ap.interval.value:.1f} " in back.sentence and "-" not in back.sentence.partition("(")[2]


def test_the_same_detections_are_the_same():
    [ap] = of(compare_runs(groups(run(0), run(0)), **FAST), "AP")
    assert ap.verdict == "same" and ap.p_value == 1 and ap.share_above == 0.5
    assert "same segm/AP" in ap.sentence


def test_no_difference_shown_says_what_could_not_be_seen():
    differences = of(compare_runs(groups(run(0), run(3)), **FAST), "AP")
    assert differences[0].verdict == "no difference shown"
    half = 50 * (differences[0].interval.high - differences[0].interval.low)
    assert f"with 40 images a difference under {half:.1f} cannot be seen" in differences[0].sentence


def test_pairing_makes_the_interval_narrower():
    comparison = compare_runs(groups(run(0), run(1)), **FAST)
    [recall] = of(comparison, "recall")
    alone = [one.high - one.low for one in comparison.metrics["segm/recall"]]
    assert recall.interval.high - recall.interval.low < 0.8 * np.hypot(*alone)


def test_seeds_widen_the_interval_and_average():
    several = [RunGroup(name, {str(s): run(s + k, found=f) for s, f in enumerate((0.4, 0.7, 0.9))}) for k, name in
               enumerate("ab")]  # fmt: skip
    comparison = compare_runs(several, **FAST)
    assert comparison.seeds == (3, 3)
    of_a = [compare_runs(groups(one, one), **FAST).metrics["segm/AP"][0] for one in several[0].runs.values()]
    wide = comparison.metrics["segm/AP"][0]
    assert wide.value == pytest.approx(np.mean([one.value for one in of_a]))
    assert wide.high - wide.low > 1.5 * max(one.high - one.low for one in of_a)


def test_several_runs_are_compared_with_the_first_and_corrected():
    three = groups(run(0, found=0.4), run(1, found=0.85), run(2, found=0.84))
    comparison = compare_runs(three, metrics=["AP"], **FAST)
    assert [(one.first, one.second) for one in comparison.differences] == [("run0", "run1"), ("run0", "run2")]
    assert all(one.adjusted_p == pytest.approx(2 * one.p_value) for one in comparison.differences)
    every = compare_runs(three, metrics=["segm/AP"], all_pairs=True, **FAST)
    assert [one.verdict for one in every.differences] == ["better", "better", "no difference shown"]


def test_too_few_resamples_for_the_pairs_are_a_warning(caplog):
    """A p-value is at least 2 / (R + 1), times the number of pairs."""
    two = groups(run(0, images=4, found=0.01), run(1, images=4, found=0.99))
    shown = {}
    for resamples in (38, 39):
        caplog.clear()
        [ap] = compare_runs(two, metrics=["AP"], **{**FAST, "resamples": resamples}).differences
        shown[resamples] = ap.is_shown, "take at least 39" in caplog.text
    assert shown == {38: (False, True), 39: (True, False)}


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # as in statsmodels' multipletests
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_fewer_errors_are_better():
    fewer = Difference("cells/missed", "a", "b", Interval(-0.02, -0.03, -0.01), 0.0, 0.01, 0.01, 50)
    assert fewer.verdict == "better"
    assert fewer.sentence == (
        "b is better than a: its cells/missed is 2.0 lower (95 % interval of the difference -3.0 to -1.0)"
    )


def test_scores_of_images():
    one, other = run(0, found=0.4), run(1, found=0.85)
    comparison = compare_runs(groups(one, other), metrics=["F1"], **FAST)
    assert [image.image_id for image in comparison.images] == list(range(40))
    assert np.mean([image.scores[1] - image.scores[0] for image in comparison.images]) > 0.1


@pytest.mark.parametrize(
    ("other", "facts"),
    [
        (run(1, images=39), ["1 image only in run0", "ids 39"]),
        (run(1, first_id=38), ["38 images only in run0", "38 images only in run1"]),
        (run(1, truth=1), ["ground truth", "of 40 images", "ids"]),
        (run(1, classes=("b",)), ["classes", "a and b"]),
        (dataclasses.replace(run(1), iou_type="bbox"), ["masks", "boxes"]),
    ],
)
def test_other_images_are_an_error(other, facts):
    with pytest.raises(SegkitError) as error:
        compare_runs(groups(run(0), other), **FAST)
    assert all(fact in str(error.value) for fact in facts), str(error.value)


def test_the_order_of_objects_does_not_matter():
    one, other = run(0), run(1)
    image = other.images[0]
    turned = np.arange(len(image.object_labels))[::-1]
    pairs = dataclasses.replace(image.overlaps, objects=turned[image.overlaps.objects])
    shuffled = dataclasses.replace(image, overlaps=pairs, object_boxes=image.object_boxes[turned])
    changed = dataclasses.replace(other, images=[shuffled, *other.images[1:]])
    found = [compare_runs(groups(one, data), **FAST).differences[0] for data in (other, changed)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("given", "settings", "fact"),
    [
        (groups(run(0)), {}, "two or more"),
        ([RunGroup("x", {"1": run(0)}), RunGroup("x", {"2": run(1)})], {}, "different names"),
        (groups(run(0), run(1)), {"metrics": ["AP5"]}, "'AP50'"),
        (groups(run(0), run(1)), {"level": 1.0}, "level"),
    ],
)
def test_mistakes(given, settings, fact):
    with pytest.raises(SegkitError, match=fact):
        compare_runs(given, **FAST, **settings)


@pytest.mark.slow
def test_equal_models_are_significant_one_time_in_twenty():
    trials = 400
    shown = dict.fromkeys(("segm/AP", "segm/AP50", "segm/F1", "segm/AR"), 0)
    for i in range(trials):
        pair = groups(*(run(2 * i + k, images=80, truth=i) for k in (0, 1)))
        found = compare_runs(pair, metrics=list(shown), **{**FAST, "resamples": 400, "seed": i})
        for one in found.differences:
            shown[one.metric] += one.is_shown
    shares = {name: count / trials for name, count in shown.items()}
    print(shares)
    assert all(0.015 <= share <= 0.09 for share in shares.values()), shares
