"""Boundaries of masks and the evaluator Boundary, against dense erosion and pycocotools' matching."""

import contextlib
import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

from segkit.evaluation import BoundaryEvaluator, boundaries
from segkit.evaluation.boundaries import boundary_rles, boundary_width
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

CLASSES = ["a", "b"]
SIZE = (70, 90)


def dense_boundary(mask, ratio=0.02):
    """The mask without its erosion by 3 x 3 squares, as often as the boundary is wide; zeros around the image."""
    width = max(1, round(ratio * math.hypot(*mask.shape)))
    eroded = ndimage.binary_erosion(np.pad(mask, 1), np.ones((3, 3)), iterations=width)[1:-1, 1:-1]
    return mask & ~eroded


def blobs(rng, count, size=SIZE):
    """Random masks [count, H, W]: ellipses with holes, some at the border, some of one pixel, one empty."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
        a, b = rng.integers(1, 35, 2)
        mask |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1
        if rng.random() < 0.3:
            mask[y - 2 : y + 2, x - 2 : x + 2] = False
    masks[-1] = False
    return masks


def encoded(masks):
    return InstanceMasks.from_dense(torch.from_numpy(masks)).to_rle()


@pytest.mark.parametrize("width", [1, 2, 5, 16])
def test_boundaries_are_masks_without_their_erosion(width):
    masks = blobs(np.random.default_rng(width), 40)
    masks[0] = True  # the whole image, eroded from the border
    found = boundary_rles(encoded(masks), SIZE, width)
    ratio = width / math.hypot(*SIZE)
    expected = np.stack([dense_boundary(mask, ratio) for mask in masks])
    assert np.array_equal(InstanceMasks.from_rle(found, SIZE).to_dense().numpy(), expected)
    assert expected.sum() < masks.sum()
    assert boundary_rles([], SIZE, width) == []


def test_large_masks_are_eroded_in_bands(monkeypatch):
    masks = blobs(np.random.default_rng(3), 20)
    whole = boundary_rles(encoded(masks), SIZE, 2)
    monkeypatch.setattr(boundaries, "BAND_ROWS", 7)
    monkeypatch.setattr(boundaries, "PIXELS_AT_ONCE", 3000)
    assert boundary_rles(encoded(masks), SIZE, 2) == whole != encoded(masks)


def test_width_of_boundaries():
    assert boundary_width((30, 40), 0.02) == 1
    assert boundary_width((300, 400), 0.02) == 10
    assert boundary_width((5, 5), 0.02) == 1  # at least a pixel
    assert boundary_width((480, 640), 0.01) == 8


def problem(seed, images=6):
    """Samples with objects, of which some are crowd regions, and detections that are moved objects."""
    rng = np.random.default_rng(seed)
    for number in range(1, images + 1):
        objects = blobs(rng, 8)
        kept = objects.any((1, 2))
        objects = objects[kept]
        labels, crowd = rng.integers(0, 2, len(objects)), rng.random(len(objects)) < 0.15
        found = [np.roll(mask, rng.integers(-1, 2, 2), (0, 1)) for mask in objects] + list(blobs(rng, 4))
        found_labels = np.where(rng.random(len(found)) < 0.9, np.append(labels, rng.integers(0, 2, 4)), 0)
        scores = np.round(rng.random(len(found)), 1)
        truth = []
        for rle, label, is_crowd in zip(encoded(objects), labels.tolist(), crowd.tolist(), strict=True):
            box = mask_api.toBbox(rle).tolist()
            area = float(mask_api.area(rle))
            truth.append({"bbox": box, "segmentation": rle, "area": area, "iscrowd": int(is_crowd), "label": label})
        yield sampled(number, truth), detections(np.stack(found), scores, found_labels)


def sampled(number, truth, size=SIZE):
    return Batch([Sample(torch.zeros(3, 0, 0), Targets.empty(size), number, f"{number}.png", size, truth)])


def detections(masks, scores, labels):
    size = masks.shape[1:]
    scores, labels = (torch.from_numpy(np.asarray(values)) for values in (scores, labels))
    return Detections.from_rle(encoded(masks), scores.float(), labels.long(), size)


class DenseBoundaryEval(COCOeval):
    """pycocotools' evaluation with min(mask IoU, boundary IoU) of dense masks; of crowds the mask's share."""

    def computeIoU(self, image_id, category_id):
        truth, found = self._gts[image_id, category_id], self._dts[image_id, category_id]
        if not truth and not found:
            return []
        order = np.argsort([-one["score"] for one in found], kind="mergesort")
        rles = [found[i]["segmentation"] for i in order][: self.params.maxDets[-1]]
        objects, crowd = [one["segmentation"] for one in truth], [one["iscrowd"] for one in truth]
        ious = np.array(mask_api.iou(rles, objects, crowd))
        for d in range(len(rles)):
            for o in range(len(objects)):
                if not crowd[o]:
                    first, second = (dense_boundary(mask_api.decode(one) != 0) for one in (rles[d], objects[o]))
                    ious[d, o] = min(ious[d, o], (first & second).sum() / max((first | second).sum(), 1))
        return ious


@pytest.mark.parametrize(("seed", "limit"), [(0, 100), (1, 4)])
def test_ap_is_that_of_pycocotools_with_dense_boundary_ious(seed, limit):
    pairs = list(problem(seed))
    evaluator = BoundaryEvaluator(CLASSES, limit)
    images, truth, results = [], [], []
    for batch, found in pairs:
        evaluator.process(batch, [found])
        [one] = batch.samples
        images.append({"id": one.image_id, "height": one.size[0], "width": one.size[1]})
        for item in one.annotations:
            own = {"id": len(truth) + 1, "image_id": one.image_id, "category_id": item["label"] + 1}
            truth.append({**item, **own})
        for rle, score, label in zip(found.to_rle(), found.scores.tolist(), found.labels.tolist(), strict=True):
            result = {"image_id": one.image_id, "category_id": label + 1, "score": score, "segmentation": rle}
            results.append(result)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truth, "categories": [{"id": 1}, {"id": 2}]}
        coco.createIndex()
        peer = DenseBoundaryEval(coco, coco.loadRes(results), "segm")
        peer.params.maxDets = [limit]
        peer.evaluate()
        peer.accumulate()
    precision, recall = peer.eval["precision"][..., -1], peer.eval["recall"][..., -1]
    expected = {"AP": precision[..., 0], "AP50": precision[0, ..., 0], "AP75": precision[5, ..., 0]}
    expected |= {"APs": precision[..., 1], "APm": precision[..., 2], "AR": recall[..., 0], "ARm": recall[..., 2]}
    expected |= {"AP-a": precision[:, :, 0, 0], "AP75-b": precision[5, :, 1, 0]}
    values = evaluator.evaluate()
    for name, array in expected.items():
        assert values[f"boundary/{name}"] == pytest.approx(array[array > -1].mean(), abs=1e-12), name
    assert 0.05 < values["boundary/AP"] < values["boundary/AP50"] < 0.95


def square(side, at=(10, 10), size=(200, 200)):
    mask = np.zeros(size, bool)
    mask[at[0] : at[0] + side, at[1] : at[1] + side] = True
    return mask


def one_object(mask, found, scores):
    [rle] = encoded(mask[None])
    box, area = mask_api.toBbox(rle).tolist(), float(mask.sum())
    truth = [{"bbox": box, "segmentation": rle, "area": area, "iscrowd": 0, "label": 0}]
    return sampled(1, truth, mask.shape), [detections(np.stack(found), scores, [0] * len(found))]


def test_a_case_by_hand():
    """Squares of 100 pixels, moved by 2: the diagonal is 283, so that boundaries are 6 pixels wide."""
    evaluator = BoundaryEvaluator(CLASSES, 100)
    evaluator.process(*one_object(square(100), [square(100, (10, 12))], [0.9]))
    # Frames of 100 x 100 without 88 x 88. Moved by 2 columns, they share two horizontal bars of 98 x 6 and, between
    # them (88 rows), vertical ones of 4 columns on both sides.
    frame, shared = 100**2 - 88**2, 2 * 6 * 98 + 88 * 2 * 4
    iou = shared / (2 * frame - shared)
    values = evaluator.evaluate()
    assert values["boundary/IoU"] == pytest.approx(iou)
    reached = sum(iou >= t for t in np.arange(50, 100, 5) / 100)
    assert values["boundary/AP"] == pytest.approx(reached / 10) and 0 < reached < 9
    assert values["boundary/AR"] == pytest.approx(reached / 10)


def test_small_objects_have_the_mask_iou():
    """Masks not wider than two boundaries are all boundary."""
    evaluator = BoundaryEvaluator(CLASSES, 100, per_class=False)
    evaluator.process(*one_object(square(10), [square(10, (10, 12))], [0.9]))
    values = evaluator.evaluate()
    assert values["boundary/IoU"] == pytest.approx(80 / 120) and "boundary/AP-a" not in values


def test_scores_of_the_mean_iou():
    evaluator = BoundaryEvaluator(CLASSES, 100, score_threshold=0.95)
    evaluator.process(*one_object(square(10), [square(10)], [0.9]))
    values = evaluator.evaluate()
    assert "boundary/IoU" not in values and values["boundary/AP"] == pytest.approx(1)


def test_selected_overlaps_keep_their_boundary_ious():
    evaluator = BoundaryEvaluator(CLASSES, 100)
    batch, found = one_object(square(100), [square(50, (120, 120)), square(100, (10, 12))], [0.9, 0.8])
    evaluator.process(batch, found)
    [image] = evaluator.data.images
    chosen = image.overlaps.select(np.ones(1, bool), np.array([False, True]))
    assert chosen.detections.tolist() == [0] and chosen.ious.tolist() == image.overlaps.ious.tolist()
    assert chosen.ious[0] < chosen.mask_ious[0]


def test_no_objects_processes_and_wrong_arguments(caplog):
    evaluator = BoundaryEvaluator(CLASSES, 100)
    batches = list(problem(3))
    whole, *parts = (BoundaryEvaluator(CLASSES, 100) for _ in range(3))
    for i, (batch, found) in enumerate(batches):
        whole.process(batch, [found])
        parts[i % 2].process(batch, [found])
    parts[0].merge([part.results() for part in parts])
    assert parts[0].evaluate() == whole.evaluate()
    empty = dataclasses.replace(batches[0][0].samples[0], annotations=[])
    evaluator.process(Batch([empty]), [batches[0][1]])
    assert evaluator.evaluate() == {} and "no objects" in caplog.text
    for wrong, fact in (({"dilation_ratio": 0}, "dilation_ratio"), ({"score_threshold": 2}, "score_threshold")):
        with pytest.raises(SegkitError, match=fact):
            BoundaryEvaluator(CLASSES, 100, **wrong)
    with pytest.raises(SegkitError, match="no masks"):
        BoundaryEvaluator(CLASSES, 100, predicts_masks=False)
