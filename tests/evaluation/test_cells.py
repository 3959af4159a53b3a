"""Metrics of cells, against dense masks, the formulas written out, and cases worked by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from segkit.evaluation import CellEvaluator, evaluate_predictions
from segkit.evaluation.overlaps import assign, mask_overlaps, rle_areas
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError

SIZE = (40, 48)


def rectangles(*boxes, size=SIZE):
    """Masks [N, H, W] of boxes x0, y0, x1, y1."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def truth_of(masks, labels=None, crowd=()):
    labels = [0] * len(masks) if labels is None else labels
    rles = InstanceMasks.from_dense(masks).to_rle()
    return [
        {"bbox": [0, 0, 1, 1], "segmentation": rle, "area": 1.0, "iscrowd": int(i in crowd), "label": label}
        for i, (rle, label) in enumerate(zip(rles, labels, strict=True))
    ]


def detections_of(masks, labels=None, scores=None):
    labels = torch.tensor([0] * len(masks) if labels is None else labels, dtype=torch.int64)
    scores = torch.ones(len(masks)) if scores is None else torch.tensor(scores)
    return Detections.from_masks(InstanceMasks.from_dense(masks), scores, labels)


def measure(*images, classes=("cell",), unlabelled=(), **how):
    """Metrics of images, each (truth, detections)."""
    evaluator = CellEvaluator(list(classes), **how)
    for image_id, (truth, found) in enumerate(images):
        targets = replace(Targets.empty((4, 4)), unlabelled=torch.tensor(unlabelled, dtype=torch.int64))
        sample = Sample(torch.zeros(3, 4, 4, dtype=torch.uint8), targets, image_id, "", found.size, truth)
        evaluator.process(Batch([sample]), [found])
    metrics = evaluator.evaluate()
    assert set(metrics) <= set(evaluator.metric_names())
    return {name.removeprefix("cells/"): value for name, value in metrics.items()}


def random_masks(rng, count):
    """Objects that touch and do not overlap, and detections of them that are moved, cut, joined or invented."""
    labels = np.zeros(SIZE, np.int64)
    for i in range(1, count + 1):
        y, x = rng.integers(0, SIZE[0] - 4), rng.integers(0, SIZE[1] - 4)
        part = labels[y : y + rng.integers(3, 12), x : x + rng.integers(3, 12)]
        part[part == 0] = i
    found = np.roll(labels, rng.integers(-1, 2, 2), (0, 1))
    for i in range(1, count + 1):
        kind = rng.integers(6)
        if kind == 0:
            found[found == i] = 0
        elif kind == 1:
            found[found == i] = rng.integers(1, count + 1)
        elif kind == 2:
            found[(found == i) & (np.arange(SIZE[1]) % 2 == 0)] = count + i
    return tuple(torch.from_numpy(map_ == np.unique(map_[map_ > 0])[:, None, None]) for map_ in (labels, found))


def ious(first, second):
    both = (first[:, None] & second[None]).flatten(2).sum(2).double()
    return both, both / (first[:, None] | second[None]).flatten(2).sum(2)


def dense_metrics(truth, found):
    """The formulas on dense masks that do not overlap among themselves, one image."""
    from scipy.optimize import linear_sum_assignment

    both, iou = ious(truth, found)
    a, b = truth.flatten(1).sum(1).double(), found.flatten(1).sum(1).double()
    values = {}
    for t in np.linspace(0.5, 0.95, 10).round(2):
        true = int((iou >= t).numpy()[linear_sum_assignment(iou.numpy() < t)].sum())
        values[f"AP@{t:g}"] = true / (len(a) + len(b) - true)
    matched = iou[linear_sum_assignment(-np.where(iou >= 0.5, 10 + iou, 0.0))]
    matched = matched[matched >= 0.5]
    values["precision"], values["recall"] = len(matched) / len(b), len(matched) / len(a)
    values["F1"] = 2 * len(matched) / (len(a) + len(b))
    values["SQ"] = matched.mean().item() if len(matched) else 0.0
    values["PQ"] = matched.sum().item() / (len(a) / 2 + len(b) / 2)
    # AJI as Kumar's algorithm 1 walks through the objects.
    intersection, union, used = 0.0, 0.0, set()
    for i in range(len(a)):
        j = int(iou[i].argmax())
        if iou[i, j] > 0:
            intersection, union = intersection + both[i, j], union + a[i] + b[j] - both[i, j]
            used.add(j)
        else:
            union += a[i]
    union += sum(b[j] for j in range(len(b)) if j not in used)
    values["AJI"] = float(intersection / union)
    rows, columns = linear_sum_assignment(-iou.numpy())
    pairs = [(i, j) for i, j in zip(rows, columns, strict=True) if iou[i, j] > 0]
    intersection = sum(both[i, j] for i, j in pairs)
    values["AJI+"] = float(intersection / (a.sum() + b.sum() - intersection))
    dice = [2 * both / (a[:, None] + b[None]), (2 * both / (a[:, None] + b[None])).T]
    of_objects = sum(a[i] * dice[0][i, both[i].argmax()] for i in range(len(a))) / a.sum()
    of_detections = sum(b[j] * dice[1][j, both[:, j].argmax()] for j in range(len(b))) / b.sum()
    values["dice"] = float((of_objects + of_detections) / 2)
    return values


@pytest.mark.parametrize("seed", range(12))
def test_equal_to_the_formulas_on_dense_masks(seed):
    truth, found = random_masks(np.random.default_rng(seed), count=12)
    expected = dense_metrics(truth, found)
    measured = measure((truth_of(truth), detections_of(found)), iou_thresholds=np.linspace(0.5, 0.95, 10))
    # Two detections may share the same number of pixels with an object, or IoU: Dice and AJI then depend on the order.
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, abs=1e-9), name
    assert measured["AP@0.5:0.95"] == pytest.approx(np.mean([v for k, v in expected.items() if k.startswith("AP@")]))


@pytest.mark.parametrize("seed", range(8))
def test_assignment_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    pairs = [(i, j) for i in range(4) for j in range(5) if rng.random() < 0.5]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    weights = rng.random(len(pairs)) + 0.01
    chosen = assign(rows, columns, weights)
    assert len(set(rows[chosen])) == len(set(columns[chosen])) == chosen.sum()
    best = 0.0
    for size in range(5):
        for some in itertools.combinations(range(len(pairs)), size):
            if len(set(rows[list(some)])) == len(set(columns[list(some)])) == size:
                best = max(best, weights[list(some)].sum())
    assert weights[chosen].sum() == pytest.approx(best)


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_intersections_are_exact_in_any_chunk(chunk, monkeypatch):
    monkeypatch.setattr("segkit.evaluation.overlaps.CHUNK", chunk)
    rng = np.random.default_rng(3)
    first = torch.from_numpy(rng.random((5, 60, 70)) < rng.random((5, 1, 1)))
    second = torch.from_numpy(rng.random((6, 60, 70)) < rng.random((6, 1, 1)))
    overlaps = mask_overlaps(*(InstanceMasks.from_dense(masks).to_rle() for masks in (first, second)))
    both = np.zeros((5, 6))
    both[overlaps.objects, overlaps.detections] = overlaps.intersections
    assert np.array_equal(both, ious(first, second)[0].numpy())


def test_areas_of_many_masks():
    masks = torch.from_numpy(np.random.default_rng(0).random((300, 6, 7)) < 0.5)
    masks[7] = False
    assert rle_areas(InstanceMasks.from_dense(masks).to_rle()).tolist() == masks.flatten(1).sum(1).tolist()
    assert rle_areas([]).shape == (0,)
    found = measure((truth_of(masks), detections_of(masks)))
    assert found["recall"] == 299 / 300


def test_split_merged_missed_and_spurious():
    truth = rectangles((0, 0, 10, 10), (12, 0, 22, 10), (22, 0, 32, 10), (0, 20, 10, 30), (20, 20, 30, 30))
    found = rectangles(
        (0, 0, 5, 10), (5, 0, 10, 10),  # halves of the first, each at IoU 0.5: one of them is a match
        (12, 0, 32, 10),  # the second and third, at IoU 0.5 each: one of them is a match
        (1, 20, 5, 24), (6, 25, 9, 29), (40, 30, 48, 40),  # two parts of the fourth; nothing
    )  # fmt: skip
    measured = measure((truth_of(truth), detections_of(found)))
    assert measured["recall"] == 2 / 5
    assert {name: measured[name] for name in ("split", "merged", "missed", "spurious")} == {
        "split": 1 / 5,
        "merged": 1 / 5,
        "missed": 1 / 5,
        "spurious": 1 / 6,
    }
    assert measured["count_error"] == 1 / 5


def test_by_image_and_pooled():
    one = rectangles((0, 0, 10, 10))
    four = rectangles((0, 0, 10, 10), (12, 0, 22, 10), (24, 0, 34, 10), (36, 0, 46, 10))
    none = rectangles()
    images = [(truth_of(one), detections_of(one)), (truth_of(four), detections_of(four[:2])), ([], detections_of(none))]
    measured = measure(*images)
    assert measured["AP@0.5"] == pytest.approx(3 / 5) == measured["AP@0.5:0.95"]
    assert measured["image_AP@0.5"] == pytest.approx((1 + 1 / 2 + 1) / 3) == measured["image_AP@0.5:0.95"]
    assert measured["AJI"] == pytest.approx((1 + 1 / 2 + 1) / 3) == measured["AJI+"]
    assert measured["count_error"] == 2 / 5
    assert (measured["precision"], measured["SQ"], measured["PQ"]) == (1, 1, pytest.approx(6 / 8))


def test_classes_and_score_threshold():
    masks = rectangles((0, 0, 10, 10), (20, 0, 30, 10), (0, 20, 10, 30))
    truth = truth_of(masks, [0, 1, 1])
    found = detections_of(masks, [0, 0, 1], [0.9, 0.9, 0.3])
    measured = measure((truth, found), classes=("a", "b"))
    assert (measured["AP@0.5-a"], measured["AP@0.5-b"], measured["AP@0.5"]) == (1 / 2, 0, 1 / 4)
    assert measured["PQ-a"] == pytest.approx(2 / 3)
    assert measure((truth, found), classes=("a", "b"), score_threshold=0.3)["AP@0.5-b"] == 1 / 2
    agnostic = measure((truth, found), classes=("a", "b"), class_agnostic=True)
    assert agnostic["AP@0.5"] == 2 / 3 and "AP@0.5-a" not in agnostic


def test_regions_count_neither_way():
    masks = rectangles((0, 0, 10, 10), (20, 0, 30, 10))
    region = rectangles((20, 0, 40, 12))
    of_region = truth_of(region, [ALL_CLASSES], crowd=[0])
    crowd = truth_of(region, [0], crowd=[0])
    found = detections_of(torch.cat([masks, rectangles((35, 0, 43, 10))]))  # the last: five of eight columns inside
    assert measure((truth_of(masks[:1]), found))["precision"] == 1 / 3
    for ignored in (of_region, crowd):
        measured = measure((truth_of(masks[:1]) + ignored, found))
        assert (measured["precision"], measured["AJI"], measured["count_error"]) == (1, 1, 0)
    # An object in a region is still found, and may be missed.
    assert measure((truth_of(masks) + of_region, found))["recall"] == 1
    other = truth_of(region, [1], crowd=[0])
    assert measure((truth_of(masks[:1]) + other, found), classes=("a", "b"))["precision"] == 1 / 3
    assert measure((truth_of(masks[:1]), found), unlabelled=[0])["precision"] == 1
    box = {"bbox": [20.0, 0.0, 20.0, 12.0], "segmentation": None, "area": 240.0, "iscrowd": 0, "label": 0}
    assert measure(([*truth_of(masks[:1]), box], found))["precision"] == 1


def test_empty_masks_and_no_detections():
    masks = torch.cat([rectangles((0, 0, 10, 10)), torch.zeros(1, *SIZE, dtype=torch.bool)])
    measured = measure((truth_of(masks), detections_of(masks)))
    assert (measured["recall"], measured["precision"], measured["AJI"]) == (1 / 2, 1 / 2, 1)
    nothing = measure((truth_of(masks), detections_of(rectangles())))
    assert {
        nothing[name] for name in ("AP@0.5", "precision", "recall", "F1", "SQ", "PQ", "dice", "AJI", "spurious")
    } == {0}
    assert (nothing["missed"], nothing["count_error"]) == (1, 1)
    assert measure(([], detections_of(masks))) == {}


def test_shares_of_several_processes_are_those_of_one():
    rng = np.random.default_rng(0)
    images = [(truth_of(a), detections_of(b)) for a, b in (random_masks(rng, 8) for _ in range(5))]
    whole = measure(*images)
    shares = []
    for rank in range(2):
        evaluator = CellEvaluator(["cell"])
        for i in range(rank, 5, 2):
            sample = Sample(torch.zeros(3, 4, 4), Targets.empty((4, 4)), i, "", SIZE, images[i][0])
            evaluator.process(Batch([sample]), [images[i][1]])
        shares.append(evaluator.results())
    evaluator.merge(shares)
    assert {f"cells/{name}": value for name, value in whole.items()} == evaluator.evaluate()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"score_threshold": 1.5}, "0..1, got 1.5"),
        ({"iou_thresholds": [0.5, 0.62]}, "0.62"),
        ({"predicts_masks": False}, "no masks"),
    ],
)
def test_wrong_arguments(how, message):
    with pytest.raises(SegkitError, match=message):
        CellEvaluator(["cell"], **how)


def test_from_a_results_file(tmp_path):
    from segkit.data.formats import Synthetic
    from segkit.evaluation import coco_results
    from segkit.evaluation.results import write_json

    data = Synthetic(num_images=3, image_size=(64, 64), seed=1)
    results = []
    for i in range(len(data)):
        targets = data.load(i).targets
        found = Detections.from_masks(targets.masks, torch.ones(len(targets)), targets.labels)
        results += coco_results(found, data.image_ids[i], data.category_ids)
    path = write_json(tmp_path / "results.json", results)
    metrics = evaluate_predictions(path, data, [CellEvaluator(data.classes)])
    # The shapes of the synthetic data may overlap; each is found all the same.
    assert metrics["cells/F1"] == metrics["cells/PQ"] == metrics["cells/recall"] == 1
    assert mask_api.area(results[0]["segmentation"]) > 0
