"""The evaluator Panoptic, against dense maps, hotcoco's panoptic evaluation and cases worked by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from segkit.evaluation import PanopticEvaluator
from segkit.structures.sample import Batch
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.errors import SegkitError

from .test_boundary import CLASSES, SIZE, blobs, detections, encoded, sampled

BACKGROUND = 9  # category of pixels without an object, which hotcoco would take for void


def truth_of(masks, labels, crowd):
    truth = []
    for rle, label, is_crowd in zip(encoded(masks), labels, crowd, strict=True):
        box, area = mask_api.toBbox(rle).tolist(), float(mask_api.area(rle))
        truth.append({"bbox": box, "segmentation": rle, "area": area, "iscrowd": int(is_crowd), "label": int(label)})
    return truth


def problem(seed, images=8, most=9):
    """Masks, labels and crowd flags of objects, and masks, labels and scores of detections; ignore regions have label -1."""
    rng = np.random.default_rng(seed)
    for number in range(1, images + 1):
        objects = blobs(rng, most)
        labels = rng.integers(0, 2, most)
        crowd = rng.random(most) < 0.2
        labels[crowd & (rng.random(most) < 0.5)] = ALL_CLASSES
        found = np.stack([*(np.roll(mask, rng.integers(-2, 3, 2), (0, 1)) for mask in objects), *blobs(rng, 3)])
        found_labels = np.append(np.where(labels < 0, 0, labels), rng.integers(0, 2, 3))
        yield number, (objects, labels, crowd), (found, found_labels, np.round(rng.random(len(found)), 1))


def exclusive(masks, order, least):
    """Dense exclusive masks in the order of ``order``; those of too few free pixels are empty."""
    taken, result = np.zeros(masks.shape[1:], bool), np.zeros_like(masks)
    for i in order:
        free = masks[i] & ~taken
        if free.any() and free.sum() >= least * masks[i].sum():
            result[i] = free
            taken |= free
    return result


def segments(truth, found, threshold):
    """Dense exclusive segments: objects, their labels, crowds by label, void; detections, their labels."""
    masks, labels, crowd = truth
    objects, object_labels = masks[~crowd], labels[~crowd]
    objects = exclusive(objects, np.argsort(objects.sum((1, 2)), kind="stable"), 0)
    outside = ~objects.any(0)
    regions = {k: masks[crowd & (labels == k)].any(0) & outside for k in (ALL_CLASSES, 0, 1)}
    kept = found[2] >= threshold
    found_masks = exclusive(found[0][kept], np.argsort(-found[2][kept], kind="stable"), 0.5)
    shown, seen = objects.any((1, 2)), found_masks.any((1, 2))
    return objects[shown], object_labels[shown], regions, found_masks[seen], found[1][kept][seen]


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_equals_counts_of_dense_maps(threshold):
    evaluator = PanopticEvaluator(CLASSES, score_threshold=threshold)
    counts = np.zeros((2, 4))
    for number, truth, found in problem(4):
        evaluator.process(sampled(number, truth_of(*truth)), [detections(found[0], found[2], found[1])])
        objects, labels, regions, masks, found_labels = segments(truth, found, threshold)
        missed = set(range(len(objects)))
        for mask, label in zip(masks, found_labels, strict=True):
            void = regions[ALL_CLASSES] & mask
            for o in range(len(objects)):
                iou = (mask & objects[o]).sum() / ((mask & ~void) | objects[o]).sum()
                if labels[o] == label and iou > 0.5:
                    counts[label] += [1, 0, 0, iou]
                    missed.remove(o)
                    break
            else:
                ignored = (mask & (regions[ALL_CLASSES] | regions[label])).sum() / mask.sum() > 0.5
                counts[label, 1] += not ignored
        for o in missed:
            counts[labels[o], 2] += 1
    assert (counts > 0).all()
    weights = counts[:, 0] + counts[:, 1:3].sum(1) / 2
    expected = np.stack([counts[:, 3] / weights, counts[:, 3] / counts[:, 0], counts[:, 0] / weights])
    values = evaluator.evaluate()
    for row, metric in zip(expected, ("PQ", "SQ", "RQ"), strict=True):
        assert [values[f"panoptic/{metric}-{name}"] for name in CLASSES] == pytest.approx(row, abs=1e-12)
        assert values[f"panoptic/{metric}"] == pytest.approx(row.mean(), abs=1e-12)


def test_equals_hotcoco():
    """hotcoco takes exclusive segments, and pixels without one for void, so that the background becomes a segment."""
    hotcoco = pytest.importorskip("hotcoco", minversion="1.3")
    evaluator = PanopticEvaluator(CLASSES, score_threshold=0.0)
    images, annotations, results = [], [], []
    for number, truth, found in problem(6):
        evaluator.process(sampled(number, truth_of(*truth)), [detections(found[0], found[2], found[1])])
        images.append({"id": number, "height": SIZE[0], "width": SIZE[1]})
        objects, labels, regions, masks, found_labels = segments(truth, found, 0.0)
        void, *crowds = regions[ALL_CLASSES], *(regions[k] & ~regions[ALL_CLASSES] for k in (0, 1))
        crowds[1] &= ~crowds[0]
        background = ~(objects.any(0) | void | crowds[0] | crowds[1])
        listed = [
            *((mask, label + 1, 0) for mask, label in zip(objects, labels, strict=True)),
            (background, BACKGROUND, 0),
        ]
        listed += [(mask, k + 1, 1) for k, mask in enumerate(crowds) if mask.any()]
        for mask, category_id, crowd in listed:
            [rle] = encoded(mask[None])
            own = {"id": len(annotations) + 1, "image_id": number, "category_id": int(category_id), "iscrowd": crowd}
            annotations.append({**own, "segmentation": rle, "area": float(mask.sum()), "bbox": [0, 0, 1, 1]})
        for mask, label in zip(masks, found_labels, strict=True):
            [rle] = encoded(mask[None])
            results.append({"image_id": number, "category_id": int(label) + 1, "segmentation": rle, "score": 1.0})
    categories = [{"id": k, "name": str(k), "isthing": 1} for k in (1, 2, BACKGROUND)]
    truth = hotcoco.COCO({"images": images, "annotations": annotations, "categories": categories})
    peer = hotcoco.panoptic.PanopticEval(truth, truth.load_res(results))
    peer.evaluate()
    by_class = peer.results()["per_class"]
    values = evaluator.evaluate()
    for k, name in enumerate(CLASSES):
        for metric in ("PQ", "SQ", "RQ"):
            assert values[f"panoptic/{metric}-{name}"] == pytest.approx(by_class[k + 1][metric.lower()], abs=1e-9)
    assert 0.2 < values["panoptic/PQ"] < 0.9


def box(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def values_of(objects, found, **settings):
    """Metrics of one image: objects (mask, label, crowd), detections (mask, score, label)."""
    unlabelled = settings.pop("unlabelled", ())
    masks, labels, crowd = zip(*objects, strict=True)
    batch = sampled(1, truth_of(np.stack(masks), labels, crowd))
    [one] = batch.samples
    targets = dataclasses.replace(one.targets, unlabelled=torch.tensor(list(unlabelled), dtype=torch.int64))
    evaluator = PanopticEvaluator(CLASSES, score_threshold=0.0, **settings)
    found_masks, scores, found_labels = zip(*found, strict=True) if found else (np.zeros((0, *SIZE), bool), (), ())
    found_masks = np.stack(found_masks) if found else found_masks
    evaluator.process(
        Batch([dataclasses.replace(one, targets=targets)]), [detections(found_masks, scores, found_labels)]
    )
    return evaluator.evaluate()


LEFT, RIGHT = box(0, 0, 20, 10), box(20, 0, 40, 10)  # 200 pixels each


def test_pixels_go_to_the_better_detection():
    # The second detection keeps the 10 x 10 pixels that the first one has not taken: half of its 200, which is enough.
    values = values_of([(LEFT, 0, 0), (RIGHT, 0, 0)], [(LEFT, 0.9, 0), (box(10, 0, 30, 10), 0.8, 0)])
    # Its IoU with the right object is 100 / 200, which does not exceed 0.5: TP 1, FP 1, FN 1.
    assert values["panoptic/PQ"] == pytest.approx(1 / 2)
    # One column less, and it is dropped; it is no false positive then.
    values = values_of([(LEFT, 0, 0), (RIGHT, 0, 0)], [(LEFT, 0.9, 0), (box(9, 0, 29, 10), 0.8, 0)])
    assert values["panoptic/PQ"] == values["panoptic/RQ"] == pytest.approx(1 / 1.5)
    # The pixels of a dropped detection stay free for a third one.
    third = box(20, 0, 40, 10)
    values = values_of([(LEFT, 0, 0), (RIGHT, 0, 0)], [(LEFT, 0.9, 0), (box(9, 0, 29, 10), 0.8, 0), (third, 0.1, 0)])
    assert values["panoptic/PQ"] == pytest.approx(1)


def test_pixels_go_to_the_smaller_object(caplog):
    # The small object lies on the large one, of which 200 - 50 pixels stay.
    values = values_of([(LEFT, 0, 0), (box(0, 0, 5, 10), 1, 0)], [(LEFT, 0.9, 0)])
    assert values["panoptic/SQ-a"] == pytest.approx(150 / 200)
    assert values["panoptic/PQ-b"] == 0 and values["panoptic/PQ"] == pytest.approx(0.375)
    assert "under smaller ones" not in caplog.text
    values = values_of([(LEFT, 0, 0), (box(0, 0, 10, 10), 1, 0), (box(10, 0, 20, 10), 1, 0)], [(LEFT, 0.9, 1)])
    assert "under smaller ones" in caplog.text and "panoptic/PQ-a" not in values


def test_ignored_detections():
    inside = (box(50, 20, 60, 30), 0.9, 0)
    assert values_of([(LEFT, 0, 0)], [(LEFT, 0.8, 0), inside])["panoptic/PQ"] == pytest.approx(1 / 1.5)
    region = box(50, 20, 56, 30)  # 60 of 100 pixels
    for label, expected in ((ALL_CLASSES, 1), (0, 1), (1, 1 / 1.5)):  # a crowd region of another class does not help
        values = values_of([(LEFT, 0, 0), (region, label, 1)], [(LEFT, 0.8, 0), inside])
        assert values["panoptic/PQ"] == pytest.approx(expected), label
    half = box(50, 20, 55, 30)
    values = values_of([(LEFT, 0, 0), (half, ALL_CLASSES, 1)], [(LEFT, 0.8, 0), inside])
    assert values["panoptic/PQ"] == pytest.approx(1 / 1.5)  # not more than half
    assert values_of([(LEFT, 0, 0)], [(LEFT, 0.8, 0), inside], unlabelled=[0])["panoptic/PQ"] == pytest.approx(1)


def test_ignore_regions_are_in_no_union():
    # The detection is the left object and the void beside it.
    values = values_of([(LEFT, 0, 0), (box(20, 0, 30, 10), ALL_CLASSES, 1)], [(box(0, 0, 30, 10), 0.8, 0)])
    assert values["panoptic/SQ"] == pytest.approx(1)
    values = values_of([(LEFT, 0, 0), (box(20, 0, 30, 10), 0, 1)], [(box(0, 0, 30, 10), 0.8, 0)])
    assert values["panoptic/SQ"] == pytest.approx(200 / 300)  # a crowd region is in it


def test_objects_without_masks_are_regions():
    batch = sampled(1, truth_of(np.stack([LEFT, box(50, 20, 60, 30)]), [0, 0], [0, 0]))
    batch.samples[0].annotations[1]["segmentation"] = None
    evaluator = PanopticEvaluator(CLASSES)
    found = np.stack([LEFT, box(50, 20, 58, 30)])
    evaluator.process(batch, [detections(found, [0.9, 0.9], [0, 0])])
    assert evaluator.evaluate()["panoptic/PQ"] == pytest.approx(1)


def test_one_class_processes_and_empty_images(caplog):
    values = values_of([(LEFT, 1, 0)], [(LEFT, 0.8, 0)], class_agnostic=True)
    assert values == {f"panoptic/{metric}": pytest.approx(1) for metric in ("PQ", "SQ", "RQ")}
    assert values_of([(LEFT, 1, 0)], [])["panoptic/PQ"] == 0
    assert values_of([(LEFT, 1, 1)], [(LEFT, 0.8, 0)]) == {} and "no objects" in caplog.text
    whole, *parts = (PanopticEvaluator(CLASSES) for _ in range(3))
    for i, (number, truth, found) in enumerate(problem(1)):
        batch, made = sampled(number, truth_of(*truth)), detections(found[0], found[2], found[1])
        whole.process(batch, [made])
        parts[i % 2].process(batch, [made])
    parts[0].merge([part.results() for part in parts])
    assert parts[0].evaluate() == whole.evaluate()


def test_wrong_arguments():
    with pytest.raises(SegkitError, match="score_threshold"):
        PanopticEvaluator(CLASSES, score_threshold=1.5)
    with pytest.raises(SegkitError, match="no masks"):
        PanopticEvaluator(CLASSES, predicts_masks=False)
