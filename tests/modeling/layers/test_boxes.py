"""Box coder, clipping, suppression, matching and sampling against torchvision or brute force."""

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import batched_nms, box_iou, nms

from segkit.modeling.layers import boxes as boxes_module
from segkit.modeling.layers import matching
from segkit.modeling.layers.box_coder import decode_boxes, encode_boxes
from segkit.modeling.layers.boxes import class_nms, clip_boxes
from segkit.modeling.layers.losses import smooth_l1_sum
from segkit.modeling.layers.matching import BELOW, BETWEEN, MATCHED, match_boxes, match_targets, overlaps
from segkit.modeling.layers.sampling import sample_balanced
from segkit.structures.targets import Targets

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(count, size=200.0):
    corners = torch.rand(count, 2) * size
    return torch.cat([corners, corners + 1 + torch.rand(count, 2) * 60], dim=1)


def test_encoding_equals_torchvision_and_inverts():
    boxes, references = random_boxes(50), random_boxes(50)
    encoded = encode_boxes(boxes, references, WEIGHTS)
    torch.testing.assert_close(encoded, BoxCoder(WEIGHTS).encode_single(boxes, references))
    torch.testing.assert_close(decode_boxes(encoded, references, WEIGHTS), boxes, atol=1e-3, rtol=1e-4)
    offsets = torch.randn(50, 4) * 4
    theirs = BoxCoder(WEIGHTS).decode_single(offsets, references)
    torch.testing.assert_close(decode_boxes(offsets, references, WEIGHTS), theirs, atol=1e-3, rtol=1e-4)


def test_decoding_is_fp32_whatever_comes_in():
    references = torch.tensor([[1000.0, 1000.0, 1010.0, 1010.0]])
    decoded = decode_boxes(torch.zeros(1, 4, dtype=torch.bfloat16), references, WEIGHTS)
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded, references)


def test_one_wild_offset_stays_finite():
    decoded = decode_boxes(torch.full((1, 4), 1e4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), WEIGHTS)
    assert torch.isfinite(decoded).all()


def test_clip():
    boxes = torch.tensor([[-5.0, -5.0, 30.0, 40.0], [50.0, 60.0, 70.0, 80.0]])
    assert clip_boxes(boxes, (20, 25)).tolist() == [[0, 0, 25, 20], [25, 20, 25, 20]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_suppression_by_class_in_any_precision(dtype):
    """With a class offset in half precision duplicates survive or neighbours vanish."""
    base = random_boxes(60, 1200.0).to(dtype).float()
    boxes = torch.cat([base, base + 0.5])
    labels = torch.arange(120) % 90
    scores = torch.rand(120)
    kept = class_nms(boxes, scores, labels, 0.5)
    expected = torch.cat(
        [torch.nonzero(labels == k).squeeze(1)[nms(boxes[labels == k], scores[labels == k], 0.5)] for k in range(90)]
    )
    assert sorted(kept.tolist()) == sorted(expected.tolist())
    assert (scores[kept].diff() <= 0).all()


@pytest.mark.parametrize(("count", "groups"), [(2500, 1), (2500, 80), (700, 80), (700, 3), (0, 1)])
@pytest.mark.parametrize("limit", [None, 1, 20, 5000])
def test_suppression_equals_torchvision_whatever_the_limit(count, groups, limit):
    boxes = random_boxes(count)
    labels = torch.randint(0, groups, (count,))
    scores = torch.randint(0, 300, (count,)) / 300  # many are equal
    expected = [torch.nonzero(labels == k).squeeze(1) for k in range(groups)]
    expected = torch.cat([numbers[nms(boxes[numbers], scores[numbers], 0.5)] for numbers in expected]).sort().values
    expected = expected[scores[expected].argsort(descending=True, stable=True)]
    assert torch.equal(class_nms(boxes, scores, labels, 0.5, limit), expected[:limit])
    theirs = batched_nms(boxes, scores, labels, 0.5)
    assert torch.equal(theirs.sort().values, expected.sort().values)


def spread(count):
    """Boxes that do not touch."""
    x = torch.arange(count)[:, None] * 20.0
    return torch.cat([x, torch.zeros_like(x), x + 9, torch.full_like(x, 9)], 1)


def test_suppression_looks_no_further_than_wanted(monkeypatch):
    seen, suppress = [], boxes_module._suppress
    monkeypatch.setattr(
        boxes_module, "_suppress", lambda boxes, *rest: seen.append(len(boxes)) or suppress(boxes, *rest)
    )
    kept = class_nms(spread(2000), torch.rand(2000), torch.zeros(2000, dtype=torch.long), 0.5, limit=10)
    assert len(kept) == 10 and sum(seen) <= 40


@pytest.mark.parametrize("places", [1, 2, 3, 4])
def test_suppression_looks_further_where_the_best_are_copies(places):
    """The best 100 boxes lie in few places: these alone would be fewer than the 5 that are wanted."""
    boxes = torch.cat([spread(places)[torch.arange(100) % places], spread(20)[places:]])
    scores = torch.linspace(1, 0.1, len(boxes))
    kept = class_nms(boxes, scores, torch.zeros(len(boxes), dtype=torch.long), 0.5, limit=5)
    assert kept.tolist() == [*range(places), *range(100, 105 - places)]


@pytest.mark.gpu
@pytest.mark.parametrize("max_pairs", [None, 1000, 7])
def test_matching_on_cuda_equals_the_cpus(max_pairs):
    boxes, objects = random_boxes(800).repeat(2, 1), random_boxes(30)
    settings = {"fg_iou_threshold": 0.7, "bg_iou_threshold": 0.3, "keep_best": True, "max_pairs": max_pairs}
    there, here = match_boxes(boxes.cuda(), objects.cuda(), **settings), match_boxes(boxes, objects, **settings)
    assert (there.state.cpu() != here.state).sum() <= 2  # where a GPU rounds an overlap otherwise
    assert (there.state == MATCHED).any()


@pytest.mark.gpu
def test_suppression_on_cuda_equals_the_cpus():
    boxes, labels, scores = random_boxes(2500), torch.randint(0, 5, (2500,)), torch.rand(2500)
    there = class_nms(boxes.cuda(), scores.cuda(), labels.cuda(), 0.5, 300)
    assert torch.equal(there.cpu(), class_nms(boxes, scores, labels, 0.5, 300))


def test_boxes_that_reach_an_objects_best_alike_all_count_in_any_chunk():
    boxes, objects = random_boxes(60).repeat(5, 1), random_boxes(7)
    boxes = boxes[torch.randperm(300)]
    whole = match_boxes(boxes, objects, fg_iou_threshold=0.99, bg_iou_threshold=0.3, keep_best=True)
    table = overlaps(boxes, objects)
    best = table.amax(0)
    assert torch.equal(whole.state == MATCHED, ((table == best) & (best > 0)).any(1))
    assert (whole.state == MATCHED).sum() >= 5
    for max_pairs in (1, 7, 50, 700):
        chunked = match_boxes(
            boxes, objects, fg_iou_threshold=0.99, bg_iou_threshold=0.3, keep_best=True, max_pairs=max_pairs
        )
        assert torch.equal(chunked.state, whole.state) and torch.equal(chunked.objects, whole.objects)


@pytest.mark.parametrize("keep_best", [True, False])
def test_matching_equals_torchvision(keep_best):
    boxes, objects = random_boxes(400), random_boxes(12)
    matches = match_boxes(boxes, objects, fg_iou_threshold=0.5, bg_iou_threshold=0.3, keep_best=keep_best)
    theirs = Matcher(0.5, 0.3, allow_low_quality_matches=keep_best)(box_iou(objects, boxes))
    state = torch.where(theirs >= 0, MATCHED, torch.where(theirs == Matcher.BELOW_LOW_THRESHOLD, BELOW, BETWEEN))
    assert torch.equal(matches.state.long(), state)
    assert torch.equal(matches.objects[theirs >= 0], theirs[theirs >= 0])
    chunked = match_boxes(
        boxes, objects, fg_iou_threshold=0.5, bg_iou_threshold=0.3, keep_best=keep_best, max_pairs=100
    )
    assert torch.equal(chunked.state, matches.state) and torch.equal(chunked.objects, matches.objects)


def test_matching_without_objects_or_boxes():
    none = match_boxes(random_boxes(5), torch.zeros(0, 4), fg_iou_threshold=0.5, bg_iou_threshold=0.5, keep_best=True)
    assert none.state.tolist() == [BELOW] * 5
    empty = match_boxes(torch.zeros(0, 4), random_boxes(3), fg_iou_threshold=0.5, bg_iou_threshold=0.5, keep_best=True)
    assert len(empty.state) == 0


def test_an_object_far_from_all_boxes_matches_nothing():
    far = torch.tensor([[900.0, 900.0, 910.0, 910.0]])
    matches = match_boxes(random_boxes(20), far, fg_iou_threshold=0.5, bg_iou_threshold=0.3, keep_best=True)
    assert matches.state.tolist() == [BELOW] * 20


def test_crowds_match_nothing_and_hide_background():
    boxes = torch.tensor([[0.0, 0, 10, 10], [40.0, 40, 50, 50], [80.0, 80, 90, 90]])
    targets = Targets(
        torch.tensor([[30.0, 30, 60, 60], [0.0, 0, 10, 10]]), torch.tensor([0, 0]), crowd=torch.tensor([True, False])
    )
    matches = match_targets(boxes, targets, fg_iou_threshold=0.5, bg_iou_threshold=0.5, keep_best=False)
    assert matches.state.tolist() == [MATCHED, BETWEEN, BELOW]
    assert matches.objects[0] == 0  # counted among the objects that are no crowd


def test_background_half_inside_a_crowd_is_left_out():
    crowd = Targets(torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([0]), crowd=torch.tensor([True]))
    boxes = torch.tensor([[15.0, 0, 25, 10], [15.1, 0, 25.1, 10]])  # half of the first
    matches = match_targets(boxes, crowd, fg_iou_threshold=0.5, bg_iou_threshold=0.5, keep_best=False)
    assert matches.state.tolist() == [BETWEEN, BELOW]


def test_crowds_are_looked_at_in_chunks(monkeypatch):
    sizes, meet = [], matching.intersections
    targets = Targets(random_boxes(30), torch.zeros(30).long(), crowd=torch.arange(30) < 25)
    options = {"fg_iou_threshold": 0.5, "bg_iou_threshold": 0.3, "keep_best": False}
    boxes = random_boxes(300)
    whole = match_targets(boxes, targets, **options)
    assert (whole.state == BETWEEN).any() and (whole.state == BELOW).any()
    monkeypatch.setitem(matching.MAX_PAIRS, "cpu", 500)
    monkeypatch.setitem(match_boxes.__kwdefaults__, "max_pairs", 500)
    monkeypatch.setattr(matching, "intersections", lambda a, b: sizes.append(len(a) * len(b)) or meet(a, b))
    assert torch.equal(match_targets(boxes, targets, **options).state, whole.state) and max(sizes) <= 500


def test_more_than_256_objects_keep_their_index():
    """In bf16 an index above 256 is rounded to a neighbour."""
    objects = torch.cat([torch.arange(0.0, 3000, 5)[:, None], torch.zeros(600, 1)], dim=1)
    objects = torch.cat([objects, objects + 4], dim=1)
    matches = match_boxes(objects, objects, fg_iou_threshold=0.5, bg_iou_threshold=0.5, keep_best=False)
    assert matches.objects.tolist() == list(range(600))


def test_sampling_respects_counts_and_generator():
    state = torch.tensor([1] * 10 + [0] * 100 + [-1] * 50)
    before = torch.random.get_rng_state()
    first = sample_balanced(state, 32, 0.25, torch.Generator().manual_seed(3))
    again = sample_balanced(state, 32, 0.25, torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert [len(part) for part in first] == [8, 24]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (state[first[0]] == 1).all() and (state[first[1]] == 0).all()
    few = sample_balanced(torch.tensor([1, 0, -1]), 32, 0.25, None)
    assert [len(part) for part in few] == [1, 1]


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
def test_smooth_l1(beta):
    a, b = torch.randn(20, 4), torch.randn(20, 4)
    expected = torch.nn.functional.smooth_l1_loss(a, b, beta=beta, reduction="sum")
    torch.testing.assert_close(smooth_l1_sum(a, b, beta), expected)
