"""Post-processing against dense arrays, SciPy and the painter of label maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import segkit
from segkit.postprocess import ExclusiveMasks, FillHoles, MaskNMS, RemoveSpecks, build_postprocess
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.painting import LabelPainter, by_score
from segkit.utils.errors import SegkitError

ndimage = pytest.importorskip("scipy.ndimage")
ALL = [MaskNMS(), MaskNMS(measure="containment"), ExclusiveMasks(), FillHoles(), RemoveSpecks()]


def detections_of(dense, scores=None, labels=None):
    """Detections of dense masks [N, H, W], best first."""
    dense = torch.as_tensor(np.asarray(dense)).bool()
    n = len(dense)
    scores = torch.linspace(0.9, 0.4, n) if scores is None else torch.as_tensor(scores)
    labels = torch.zeros(n, dtype=torch.int64) if labels is None else torch.as_tensor(labels)
    return Detections.from_masks(InstanceMasks.from_dense(dense), scores, labels)


def random_masks(seed, count=12, size=(23, 31)):
    """Blobs of random boxes with holes and specks; some empty, one pixel, or of the whole image."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((count, *size), bool)
    for mask in dense:
        kind = rng.integers(8)
        if kind == 0:
            continue
        if kind == 1:
            mask[:] = True
        elif kind == 2:
            mask[rng.integers(size[0]), rng.integers(size[1])] = True
        else:
            y, x = rng.integers(size[0] - 4), rng.integers(size[1] - 4)
            h, w = rng.integers(3, size[0] - y + 1), rng.integers(3, size[1] - x + 1)
            mask[y : y + h, x : x + w] = rng.random((h, w)) < rng.choice([0.5, 0.8, 1.0])
    return dense


def brute_nms(dense, labels, threshold, measure, per_class):
    kept = []
    for i, mask in enumerate(dense):
        for k in kept:
            if per_class and labels[i] != labels[k]:
                continue
            shared, areas = (mask & dense[k]).sum(), (mask.sum(), dense[k].sum())
            whole = (mask | dense[k]).sum() if measure == "iou" else min(areas)
            if whole and shared / whole > threshold:
                break
        else:
            kept.append(i)
    return kept


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from(["iou", "containment"]),
    st.booleans(),
)
def test_mask_nms_equals_all_pairs(seed, threshold, measure, per_class):
    dense = random_masks(seed)
    labels = np.random.default_rng(seed).integers(0, 2, len(dense))
    found = MaskNMS(threshold=threshold, measure=measure, per_class=per_class)(detections_of(dense, labels=labels))
    kept = brute_nms(dense, labels, threshold, measure, per_class)
    assert torch.equal(found.masks.to_dense(), torch.from_numpy(dense[kept]))
    assert found.labels.tolist() == labels[kept].tolist()


def test_mask_nms_keeps_probabilities():
    """So that ExclusiveMasks may follow, and masks are pasted as without it."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [12, 12, 20, 20]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3).long(), torch.ones(3, 4, 4), (24, 24))
    left = MaskNMS()(found)
    assert left.mask_probs is not None and left.boxes.tolist() == boxes[[0, 2]].tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_exclusive_masks_equal_the_painted_label_map(seed):
    dense = random_masks(seed)
    given_ = detections_of(dense, scores=np.sort(np.random.default_rng(seed).random(len(dense)))[::-1].copy())
    found = ExclusiveMasks()(given_)
    painted = LabelPainter(given_.masks, np.arange(1, len(dense) + 1), order=by_score(given_.scores)).paint()
    expected = [painted == i for i in range(1, len(dense) + 1) if (painted == i).any()]
    assert torch.equal(found.masks.to_dense(), torch.as_tensor(np.array(expected).reshape(-1, *painted.shape)))
    untouched = [i for i in range(len(dense)) if (painted == i + 1).sum() == dense[i].sum() > 0]
    assert set(found.scores.tolist()) >= set(given_.scores[untouched].tolist())


def test_an_object_that_is_removed_takes_no_pixels():
    dense = np.zeros((3, 6, 9), bool)
    dense[0, :, :4] = True
    dense[1, :, :5] = True  # keeps one column of five
    dense[2, :, 4:9] = True  # shares that column with the second one
    kept = {share: ExclusiveMasks(min_share=share)(detections_of(dense)).masks.areas().tolist() for share in (0, 0.5)}
    assert kept == {0: [24, 6, 24], 0.5: [24, 30]}
    assert [len(ExclusiveMasks(min_area=n)(detections_of(dense))) for n in (6, 7, 25, 31)] == [3, 2, 1, 0]


def test_exclusive_by_the_probability_of_masks():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    probs = torch.stack([torch.full((4, 4), 0.6), torch.full((4, 4), 0.95)])
    found = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), probs, (10, 10))
    assert found.masks.areas().tolist() == [64, 96]  # 0.6 falls below 0.5 at the border
    assert ExclusiveMasks(min_share=0.5)(found).masks.areas().tolist() == [64]
    by_mask = ExclusiveMasks(order="mask_probability")(found)  # 0.8 * 0.95 > 0.9 * 0.6
    assert by_mask.labels.tolist() == [1] and by_mask.masks.areas().tolist() == [96]
    with pytest.raises(SegkitError, match="order: score"):
        ExclusiveMasks(order="mask_probability")(detections_of(random_masks(1)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, 1, 3]))
def test_fill_holes_equals_scipy(seed, max_area):
    dense = random_masks(seed)
    found = FillHoles(max_area=max_area)(detections_of(dense))
    for mask, ours in zip(dense, found.masks.to_dense().numpy(), strict=True):
        filled = ndimage.binary_fill_holes(mask)
        if max_area is not None:
            holes, count = ndimage.label(filled & ~mask)
            for k in range(1, count + 1):
                if (holes == k).sum() > max_area:
                    filled &= holes != k
        assert np.array_equal(ours, filled)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["largest", "all"]), st.sampled_from([1, 2, 5]), st.sampled_from([4, 8]))
def test_remove_specks_equals_scipy(seed, keep, min_area, connectivity):
    dense = random_masks(seed)
    given_ = detections_of(dense)
    found = RemoveSpecks(keep=keep, min_area=min_area, connectivity=connectivity)(given_)
    expected, scores = [], []
    for mask, score in zip(dense, given_.scores.tolist(), strict=True):
        parts, count = ndimage.label(mask, np.ones((3, 3)) if connectivity == 8 else None)
        areas = np.bincount(parts.reshape(-1), minlength=count + 1)[1:]
        kept = np.flatnonzero(areas >= min_area) + 1
        if keep == "largest" and count:
            kept = kept[kept == areas.argmax() + 1]
        left = np.isin(parts, kept)
        if left.any() or not mask.any():
            expected.append(left)
            scores.append(score)
    assert torch.equal(found.masks.to_dense(), torch.as_tensor(np.array(expected).reshape(-1, *dense.shape[1:])))
    assert found.scores.tolist() == scores


@pytest.mark.parametrize("step", ALL, ids=lambda step: type(step).__name__)
def test_edge_cases(step):
    none = step(detections_of(np.zeros((0, 8, 9), bool)))
    assert len(none) == 0 and none.size == (8, 9)
    pixel = np.zeros((1, 8, 9), bool)
    pixel[0, 7, 8] = True
    assert step(detections_of(pixel)).boxes.tolist() == [[8, 7, 9, 8]]
    full = np.ones((2, 8, 9), bool)
    assert step(detections_of(full)).boxes[0].tolist() == [0, 0, 9, 8]
    boxes = Detections(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0.5]), torch.tensor([0]), None, (8, 9))
    with pytest.raises(SegkitError, match="needs masks"):
        step(boxes)


@pytest.mark.parametrize("step", ALL, ids=lambda step: type(step).__name__)
def test_given_detections_stay_as_they_are(step):
    found = detections_of(random_masks(3))
    before = found.masks.bits.clone(), found.boxes.clone(), found.scores.clone()
    step(found)
    assert all(torch.equal(a, b) for a, b in zip(before, (found.masks.bits, found.boxes, found.scores), strict=True))


def test_boxes_follow_changed_masks_only():
    dense = np.zeros((2, 9, 9), bool)
    dense[0, :4, :4] = dense[0, 8, 8] = True
    dense[1, 5:8, 5:8] = True
    found = detections_of(dense)
    found.boxes = found.boxes + 0.25
    changed = RemoveSpecks()(found)
    assert changed.boxes.tolist() == [[0, 0, 4, 4], [5.25, 5.25, 8.25, 8.25]]


def test_a_pipeline_of_the_config():
    steps = build_postprocess([{"name": "MaskNMS", "threshold": 0.3}, {"name": "ExclusiveMasks", "min_area": 4}])
    assert [type(step).__name__ for step in steps.steps] == ["MaskNMS", "ExclusiveMasks"]
    found = steps(detections_of(random_masks(5)))
    assert found.masks.to_dense().sum(0).max() <= 1 and found.masks.areas().min() >= 4
    with pytest.raises(SegkitError, match="did you mean 'MaskNMS'"):
        build_postprocess([{"name": "MaskNms"}])
    with pytest.raises(SegkitError, match=r"postprocess\.0\.min_area.*at least 1"):
        segkit.load_config("segkit://quickstart.yaml", ["predict.postprocess=[{name: ExclusiveMasks, min_area: 0}]"])


def test_a_thousand_touching_objects():
    """A grid whose masks overlap their neighbours by a pixel."""
    dense = np.zeros((1024, 97, 97), bool)
    for i in range(1024):
        y, x = divmod(i, 32)
        dense[i, 3 * y : 3 * y + 4, 3 * x : 3 * x + 4] = True
    found = ExclusiveMasks()(MaskNMS()(detections_of(dense)))
    assert len(found) == 1024 and found.masks.areas().sum() == dense.any(0).sum()
