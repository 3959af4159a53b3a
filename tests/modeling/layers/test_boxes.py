"""Box deltas, clipping, NMS, matching and sampling against torchvision or brute force."""

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import batched_nms as torchvision_batched_nms
from torchvision.ops import box_iou, nms

from segkit.modeling.layers import matching
from segkit.modeling.layers import nms as nms_module
from segkit.modeling.layers.box_loss import smooth_l1_sum
from segkit.modeling.layers.box_regression import apply_deltas, get_deltas
from segkit.modeling.layers.boxes import clip_boxes
from segkit.modeling.layers.matching import BACKGROUND, FOREGROUND, IGNORED, match_boxes, match_targets, pairwise_iou
from segkit.modeling.layers.nms import batched_nms
from segkit.modeling.layers.sampling import subsample_labels
from segkit.structures.targets import Targets

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(count, size=200.0):
    corners = torch.rand(count, 2) * size
    return torch.cat([corners, corners + 1 + torch.rand(count, 2) * 60], dim=1)


def test_deltas_equal_torchvision_and_invert():
    boxes, src_boxes = random_boxes(50), random_boxes(50)
    encoded = get_deltas(src_boxes, boxes, WEIGHTS)
    torch.testing.assert_close(encoded, BoxCoder(WEIGHTS).encode_single(boxes, src_boxes))
    torch.testing.assert_close(apply_deltas(encoded, src_boxes, WEIGHTS), boxes, atol=1e-3, rtol=1e-4)
    deltas = torch.randn(50, 4) * 4
    theirs = BoxCoder(WEIGHTS).decode_single(deltas, src_boxes)
    torch.testing.assert_close(apply_deltas(deltas, src_boxes, WEIGHTS), theirs, atol=1e-3, rtol=1e-4)


def test_apply_deltas_returns_fp32_for_any_dtype():
    src_boxes = torch.tensor([[1000.0, 1000.0, 1010.0, 1010.0]])
    decoded = apply_deltas(torch.zeros(1, 4, dtype=torch.bfloat16), src_boxes, WEIGHTS)
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded, src_boxes)


def test_a_huge_delta_stays_finite():
    decoded = apply_deltas(torch.full((1, 4), 1e4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), WEIGHTS)
    assert torch.isfinite(decoded).all()


def test_clip():
    boxes = torch.tensor([[-5.0, -5.0, 30.0, 40.0], [50.0, 60.0, 70.0, 80.0]])
    assert clip_boxes(boxes, (20, 25)).tolist() == [[0, 0, 25, 20], [25, 20, 25, 20]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_nms_by_class_in_any_precision(dtype):
    """torchvision's offset for each class, in half precision, lets duplicates survive or neighbours vanish."""
    base = random_boxes(60, 1200.0).to(dtype).float()
    boxes = torch.cat([base, base + 0.5])
    labels = torch.arange(120) % 90
    scores = torch.rand(120)
    kept = batched_nms(boxes, scores, labels, 0.5)
    expected = torch.cat(
        [torch.nonzero(labels == k).squeeze(1)[nms(boxes[labels == k], scores[labels == k], 0.5)] for k in range(90)]
    )
    assert sorted(kept.tolist()) == sorted(expected.tolist())
    assert (scores[kept].diff() <= 0).all()


@pytest.mark.parametrize(("count", "groups"), [(2500, 1), (2500, 80), (700, 80), (700, 3), (0, 1)])
@pytest.mark.parametrize("limit", [None, 1, 20, 5000])
def test_nms_equals_torchvision_for_any_limit(count, groups, limit):
    boxes = random_boxes(count)
    labels = torch.randint(0, groups, (count,))
    scores = torch.randint(0, 300, (count,)) / 300  # many are equal
    expected = [torch.nonzero(labels == k).squeeze(1) for k in range(groups)]
    expected = torch.cat([indices[nms(boxes[indices], scores[indices], 0.5)] for indices in expected]).sort().values
    expected = expected[scores[expected].argsort(descending=True, stable=True)]
    assert torch.equal(batched_nms(boxes, scores, labels, 0.5, limit), expected[:limit])
    theirs = torchvision_batched_nms(boxes, scores, labels, 0.5)
    assert torch.equal(theirs.sort().values, expected.sort().values)


def spread(count):
    """Boxes that do not touch."""
    x = torch.arange(count)[:, None] * 20.0
    return torch.cat([x, torch.zeros_like(x), x + 9, torch.full_like(x, 9)], 1)


def test_nms_compares_no_more_boxes_than_the_limit_needs(monkeypatch):
    counts, original = [], nms_module._nms_best_first
    monkeypatch.setattr(
        nms_module, "_nms_best_first", lambda boxes, *rest: counts.append(len(boxes)) or original(boxes, *rest)
    )
    kept = batched_nms(spread(2000), torch.rand(2000), torch.zeros(2000, dtype=torch.long), 0.5, limit=10)
    assert len(kept) == 10 and sum(counts) <= 40


@pytest.mark.parametrize("distinct", [1, 2, 3, 4])
def test_nms_takes_more_candidates_if_the_best_are_copies(distinct):
    """The best 100 boxes are copies of a few, which alone are fewer than the limit of 5."""
    boxes = torch.cat([spread(distinct)[torch.arange(100) % distinct], spread(20)[distinct:]])
    scores = torch.linspace(1, 0.1, len(boxes))
    kept = batched_nms(boxes, scores, torch.zeros(len(boxes), dtype=torch.long), 0.5, limit=5)
    assert kept.tolist() == [*range(distinct), *range(100, 105 - distinct)]


@pytest.mark.gpu
@pytest.mark.parametrize("max_pairs", [None, 1000, 7])
def test_matching_on_cuda_equals_the_cpus(max_pairs):
    boxes, gt_boxes = random_boxes(800).repeat(2, 1), random_boxes(30)
    settings = {
        "fg_iou_threshold": 0.7,
        "bg_iou_threshold": 0.3,
        "allow_low_quality_matches": True,
        "max_pairs": max_pairs,
    }
    there, here = match_boxes(boxes.cuda(), gt_boxes.cuda(), **settings), match_boxes(boxes, gt_boxes, **settings)
    assert (there.match_labels.cpu() != here.match_labels).sum() <= 2  # a GPU may round an IoU differently
    assert (there.match_labels == FOREGROUND).any()


@pytest.mark.gpu
def test_nms_on_cuda_equals_the_cpus():
    boxes, labels, scores = random_boxes(2500), torch.randint(0, 5, (2500,)), torch.rand(2500)
    there = batched_nms(boxes.cuda(), scores.cuda(), labels.cuda(), 0.5, 300)
    assert torch.equal(there.cpu(), batched_nms(boxes, scores, labels, 0.5, 300))


def test_boxes_that_tie_for_the_best_iou_all_match_with_any_chunk_size():
    boxes, gt_boxes = random_boxes(60).repeat(5, 1), random_boxes(7)
    boxes = boxes[torch.randperm(300)]
    whole = match_boxes(boxes, gt_boxes, fg_iou_threshold=0.99, bg_iou_threshold=0.3, allow_low_quality_matches=True)
    table = pairwise_iou(boxes, gt_boxes)
    best = table.amax(0)
    assert torch.equal(whole.match_labels == FOREGROUND, ((table == best) & (best > 0)).any(1))
    assert (whole.match_labels == FOREGROUND).sum() >= 5
    for max_pairs in (1, 7, 50, 700):
        chunked = match_boxes(
            boxes,
            gt_boxes,
            fg_iou_threshold=0.99,
            bg_iou_threshold=0.3,
            allow_low_quality_matches=True,
            max_pairs=max_pairs,
        )
        assert torch.equal(chunked.match_labels, whole.match_labels) and torch.equal(
            chunked.matched_idxs, whole.matched_idxs
        )


@pytest.mark.parametrize("low_quality", [True, False])
def test_matching_equals_torchvision(low_quality):
    options = {"fg_iou_threshold": 0.5, "bg_iou_threshold": 0.3, "allow_low_quality_matches": low_quality}
    boxes, gt_boxes = random_boxes(400), random_boxes(12)
    matches = match_boxes(boxes, gt_boxes, **options)
    theirs = Matcher(0.5, 0.3, allow_low_quality_matches=low_quality)(box_iou(gt_boxes, boxes))
    state = torch.where(
        theirs >= 0, FOREGROUND, torch.where(theirs == Matcher.BELOW_LOW_THRESHOLD, BACKGROUND, IGNORED)
    )
    assert torch.equal(matches.match_labels.long(), state)
    assert torch.equal(matches.matched_idxs[theirs >= 0], theirs[theirs >= 0])
    chunked = match_boxes(
        boxes,
        gt_boxes,
        fg_iou_threshold=0.5,
        bg_iou_threshold=0.3,
        allow_low_quality_matches=low_quality,
        max_pairs=100,
    )
    assert torch.equal(chunked.match_labels, matches.match_labels) and torch.equal(
        chunked.matched_idxs, matches.matched_idxs
    )


def test_matching_without_ground_truth_or_boxes():
    options = {"fg_iou_threshold": 0.5, "bg_iou_threshold": 0.5, "allow_low_quality_matches": True}
    none = match_boxes(random_boxes(5), torch.zeros(0, 4), **options)
    assert none.match_labels.tolist() == [BACKGROUND] * 5
    empty = match_boxes(torch.zeros(0, 4), random_boxes(3), **options)
    assert len(empty.match_labels) == 0


def test_an_object_that_no_box_overlaps_matches_nothing():
    far = torch.tensor([[900.0, 900.0, 910.0, 910.0]])
    matches = match_boxes(
        random_boxes(20), far, fg_iou_threshold=0.5, bg_iou_threshold=0.3, allow_low_quality_matches=True
    )
    assert matches.match_labels.tolist() == [BACKGROUND] * 20


def test_crowds_match_nothing_and_make_background_ignored():
    boxes = torch.tensor([[0.0, 0, 10, 10], [40.0, 40, 50, 50], [80.0, 80, 90, 90]])
    targets = Targets(
        torch.tensor([[30.0, 30, 60, 60], [0.0, 0, 10, 10]]), torch.tensor([0, 0]), crowd=torch.tensor([True, False])
    )
    matches = match_targets(boxes, targets, fg_iou_threshold=0.5, bg_iou_threshold=0.5, allow_low_quality_matches=False)
    assert matches.match_labels.tolist() == [FOREGROUND, IGNORED, BACKGROUND]
    assert matches.matched_idxs[0] == 0  # index among the gt_boxes that are not crowd regions


def test_background_half_inside_a_crowd_is_ignored():
    crowd = Targets(torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([0]), crowd=torch.tensor([True]))
    boxes = torch.tensor([[15.0, 0, 25, 10], [15.1, 0, 25.1, 10]])  # half of the first
    matches = match_targets(boxes, crowd, fg_iou_threshold=0.5, bg_iou_threshold=0.5, allow_low_quality_matches=False)
    assert matches.match_labels.tolist() == [IGNORED, BACKGROUND]


def test_crowds_are_compared_in_chunks(monkeypatch):
    sizes, original = [], matching.intersections
    targets = Targets(random_boxes(30), torch.zeros(30).long(), crowd=torch.arange(30) < 25)
    options = {"fg_iou_threshold": 0.5, "bg_iou_threshold": 0.3, "allow_low_quality_matches": False}
    boxes = random_boxes(300)
    whole = match_targets(boxes, targets, **options)
    assert (whole.match_labels == IGNORED).any() and (whole.match_labels == BACKGROUND).any()
    monkeypatch.setitem(matching.MAX_PAIRS, "cpu", 500)
    monkeypatch.setitem(match_boxes.__kwdefaults__, "max_pairs", 500)
    monkeypatch.setattr(matching, "intersections", lambda a, b: sizes.append(len(a) * len(b)) or original(a, b))
    assert torch.equal(match_targets(boxes, targets, **options).match_labels, whole.match_labels) and max(sizes) <= 500


def test_more_than_256_objects_keep_their_index():
    """In bf16 an index above 256 is rounded to a neighbour."""
    gt_boxes = torch.cat([torch.arange(0.0, 3000, 5)[:, None], torch.zeros(600, 1)], dim=1)
    gt_boxes = torch.cat([gt_boxes, gt_boxes + 4], dim=1)
    matches = match_boxes(
        gt_boxes, gt_boxes, fg_iou_threshold=0.5, bg_iou_threshold=0.5, allow_low_quality_matches=False
    )
    assert matches.matched_idxs.tolist() == list(range(600))


def test_sampling_respects_counts_and_generator():
    match_labels = torch.tensor([1] * 10 + [0] * 100 + [-1] * 50)
    before = torch.random.get_rng_state()
    first = subsample_labels(match_labels, 32, 0.25, torch.Generator().manual_seed(3))
    again = subsample_labels(match_labels, 32, 0.25, torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert [len(part) for part in first] == [8, 24]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (match_labels[first[0]] == 1).all() and (match_labels[first[1]] == 0).all()
    few = subsample_labels(torch.tensor([1, 0, -1]), 32, 0.25, None)
    assert [len(part) for part in few] == [1, 1]


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
def test_smooth_l1(beta):
    a, b = torch.randn(20, 4), torch.randn(20, 4)
    expected = torch.nn.functional.smooth_l1_loss(a, b, beta=beta, reduction="sum")
    torch.testing.assert_close(smooth_l1_sum(a, b, beta), expected)
