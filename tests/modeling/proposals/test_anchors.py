"""Anchors and the proposal network."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchors
from torchvision.models.detection.image_list import ImageList

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.proposals import RPN, AnchorGenerator, RPNHead
from segkit.modeling.proposals.rpn import RPNOutput
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

FEATURES = {"p2": FeatureSpec(8, 4), "p3": FeatureSpec(8, 8)}
GRIDS = [(16, 24), (8, 12)]


def make_rpn(**options):
    anchors = AnchorGenerator(FEATURES, sizes=[[16], [32]])
    return RPN(FEATURES, anchor_generator=anchors, head=RPNHead(FEATURES, anchors.num_anchors), **options)


def make_features(batch=2):
    return {name: torch.randn(batch, 8, *grid) for name, grid in zip(FEATURES, GRIDS, strict=True)}


def test_anchors_equal_torchvision():
    ours = AnchorGenerator(FEATURES, sizes=[[16, 20], [32, 40]], rounded=True)(GRIDS)
    theirs = TorchvisionAnchors(((16, 20), (32, 40)), ((0.5, 1.0, 2.0),) * 2)
    maps = [torch.zeros(1, 8, *grid) for grid in GRIDS]
    expected = theirs(ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)]), maps)[0]
    assert torch.equal(torch.cat(ours), expected)


def test_anchors_keep_area_ratio_and_centre():
    generator = AnchorGenerator({"p2": FeatureSpec(8, 4)}, sizes=[[20]], aspect_ratios=[0.5, 2.0], offset=0.5)
    (anchors,) = generator([(2, 3)])
    sides = anchors[:, 2:] - anchors[:, :2]
    torch.testing.assert_close(sides.prod(1), torch.full((12,), 400.0))
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 2.0] * 6))
    centres = (anchors[:, 2:] + anchors[:, :2]) / 2
    assert centres[0].tolist() == [2, 2] and centres[-1].tolist() == [10, 6]


def test_anchors_equal_torchvision_where_the_coarsest_map_is_rounded_up():
    """800 x 1088 is 12.5 x 17 pixels of stride 64: torchvision steps by 61 there."""
    features = {f"p{i}": FeatureSpec(8, 1 << i) for i in range(2, 7)}
    grids = [(200, 272), (100, 136), (50, 68), (25, 34), (13, 17)]
    sizes = [[32], [64], [128], [256], [512]]
    theirs = TorchvisionAnchors(tuple(tuple(s) for s in sizes), ((0.5, 1.0, 2.0),) * 5)
    image = ImageList(torch.zeros(1, 3, 800, 1088), [(800, 1088)])
    expected = theirs(image, [torch.zeros(1, 8, *grid) for grid in grids])[0]
    ours = AnchorGenerator(features, sizes=sizes, rounded=True, whole_strides=True)(grids)
    assert torch.equal(torch.cat(ours), expected)
    nominal = AnchorGenerator(features, sizes=sizes, rounded=True)(grids)
    assert torch.equal(torch.cat(nominal[:4]), torch.cat(ours[:4])) and not torch.equal(nominal[4], ours[4])


def test_anchors_stay_fp32_in_a_half_model():
    plain, half = AnchorGenerator(FEATURES, sizes=[[16]]), AnchorGenerator(FEATURES, sizes=[[16]]).bfloat16()
    for exact, level in zip(plain([(300, 300), (150, 150)]), half([(300, 300), (150, 150)]), strict=True):
        assert level.dtype == torch.float32 and torch.equal(exact, level)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sizes": [[16], [32], [64]]}, "3 lists for the 2 levels"),
        ({"sizes": [[16], [32, 64]]}, "same number"),
        ({"sizes": [[0], [32]]}, "above 0"),
        ({"sizes": [[16]], "aspect_ratios": [-1.0]}, "above 0"),
    ],
)
def test_anchor_mistakes(options, message):
    with pytest.raises(SegkitError, match=message):
        AnchorGenerator(FEATURES, **options)


def test_head_order_matches_the_anchors():
    """Raising one pixel of one map raises the scores of that pixel's anchors."""
    head = RPNHead(FEATURES, 3)
    for conv in (*head.convs, head.objectness):
        torch.nn.init.constant_(conv.weight, 0.1)
    maps = [torch.zeros(1, 8, *grid) for grid in GRIDS]
    maps[0][:, :, 5, 7] = 1.0
    scores, _ = head(maps)
    best = scores[0][0].argmax().item()
    anchors = AnchorGenerator(FEATURES, sizes=[[16], [32]])(GRIDS)[0]
    centre = (anchors[best, :2] + anchors[best, 2:]) / 2
    assert (centre / 4 - torch.tensor([7.0, 5.0])).abs().max() <= 1


def test_proposals_are_clipped_limited_and_sorted():
    rpn = make_rpn(pre_nms_top_k=(50, 40), post_nms_top_k=(30, 20))
    features = make_features()
    output = rpn(features)
    for training, limit in ((True, 30), (False, 20)):
        proposals = rpn.proposals(output, [(64, 96), (40, 50)], training)
        assert all(0 < len(boxes) <= limit for boxes in proposals)
        for boxes, (h, w) in zip(proposals, [(64, 96), (40, 50)], strict=True):
            assert (boxes >= 0).all() and (boxes[:, 2] <= w).all() and (boxes[:, 3] <= h).all()
            assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()


def test_nan_makes_no_proposal():
    rpn = make_rpn()
    output = rpn(make_features(1))
    output.objectness[0][0, :5] = float("nan")
    output.pred_deltas[0][0, 5:10] = float("nan")
    assert torch.isfinite(rpn.proposals(output, [(64, 96)], True)[0]).all()


def test_losses_vanish_for_a_perfect_network():
    rpn = make_rpn()
    output = rpn(make_features(1))
    anchors = torch.cat(output.anchors)
    inside = ((anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= 96) & (anchors[:, 3] <= 64)).nonzero().squeeze(1)
    objects = anchors[inside[[10, 200]]]
    targets = [Targets(objects, torch.zeros(2, dtype=torch.int64))]
    from segkit.modeling.layers.box_regression import get_deltas
    from segkit.modeling.layers.matching import match_boxes

    matches = match_boxes(anchors, objects, fg_iou_threshold=0.7, bg_iou_threshold=0.3, allow_low_quality_matches=True)
    perfect = (matches.match_labels == 1).float() * 60 - 30
    deltas = get_deltas(anchors, objects[matches.matched_idxs], (1.0, 1.0, 1.0, 1.0))
    counts = [len(level) for level in output.anchors]
    objectness, moved = perfect[None].split(counts, dim=1), deltas[None].split(counts, dim=1)
    losses = rpn.losses(RPNOutput(output.anchors, list(objectness), list(moved)), targets, None)
    assert losses["rpn_cls"] < 1e-6 and losses["rpn_box"] < 1e-6


def test_losses_without_objects_are_background_only():
    rpn = make_rpn()
    output = rpn(make_features())
    losses = rpn.losses(output, [Targets.empty((64, 96))] * 2, torch.Generator().manual_seed(0))
    assert losses["rpn_box"] == 0 and losses["rpn_cls"] > 0
    sum(losses.values()).backward()


@pytest.mark.parametrize("options", [{"batch_size_per_image": 0}, {"nms_threshold": 0.0}, {"bg_iou_threshold": 0.9}])
def test_rpn_mistakes(options):
    with pytest.raises(SegkitError):
        make_rpn(**options)
