"""Cascade RoI heads: boxes and losses of each stage, and the combination at test."""

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

import segkit
from segkit.modeling.interfaces import BoxHead
from segkit.modeling.layers.box_regression import apply_deltas
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.nonfinite import NotFiniteError
from segkit.modeling.roi_heads import CascadeROIHeads, FastRCNNHead, FCNMaskHead, StandardROIHeads
from segkit.modeling.roi_heads.proposal_sampling import label_proposals
from segkit.registry import ROI_HEADS_REGISTRY
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

FEATURES = {f"p{i + 2}": FeatureSpec(8, 4 << i) for i in range(4)}
SIZES = [(64, 64), (48, 64)]
UNIT = (1.0, 1.0, 1.0, 1.0)


def make_features(batch=2):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(batch, 8, 64 // s.stride, 64 // s.stride, generator=generator) for name, s in FEATURES.items()
    }


def make_proposals(seed=1, count=40):
    corners = torch.rand(2, count, 4, generator=torch.Generator().manual_seed(seed)) * 24
    return [torch.cat([c[:, :2], c[:, :2] + c[:, 2:] + 2], dim=1) for c in corners]


def make_targets():
    dense = torch.zeros(2, 64, 64, dtype=torch.bool)
    dense[0, 4:30, 6:28] = True
    dense[1, 20:44, 30:60] = True
    first, second = InstanceMasks.from_dense(dense), InstanceMasks.from_dense(dense[:, :48])
    return [Targets(m.boxes(), torch.tensor([2, 0]), m) for m in (first, second)]


def make_heads(stages=3, mask=True, **options):
    torch.manual_seed(0)
    heads = [
        FastRCNNHead(FEATURES, 3, fc_dims=[16], class_agnostic=True, box_weights=(10.0 * i, 10.0 * i, 5.0 * i, 5.0 * i))
        for i in range(1, stages + 1)
    ]
    mask_head = FCNMaskHead(FEATURES, 3, conv_dims=[8]) if mask else None
    options = {
        "fg_iou_thresholds": (0.5, 0.6, 0.7)[:stages],
        "batch_size_per_image": 64,
        "score_threshold": 0.0,
        **options,
    }
    return CascadeROIHeads(FEATURES, 3, box_heads=heads, mask_head=mask_head, **options)


def losses_of(heads, features=None, proposals=None, targets=None):
    generator = torch.Generator().manual_seed(7)
    return heads.losses(
        features or make_features(), proposals or make_proposals(), targets or make_targets(), generator, SIZES
    )


class FixedHead(BoxHead):
    """Returns given logits and deltas, and records its boxes."""

    class_agnostic = True

    def __init__(self, deltas, logits=(0.0, 0.0, 0.0, 0.0)):
        super().__init__()
        self.deltas = nn.Parameter(torch.tensor(deltas))
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, features, boxes):
        self.boxes, count = list(boxes), sum(len(b) for b in boxes)
        return self.logits.expand(count, -1), self.deltas.expand(count, 1, 4)

    def losses(self, logits, deltas, proposals, labels, objects):
        self.seen = proposals, labels, objects
        return {"cls": logits.sum(), "box": deltas.sum()}

    def decode(self, deltas, proposals):
        return apply_deltas(deltas, proposals[:, None], UNIT).expand(-1, 3, -1)


def make_fixed(*heads, **options):
    ious = (0.5, 0.6, 0.7)[: len(heads)]
    options = {"score_threshold": 0.0, "batch_size_per_image": 64, **options}
    return CascadeROIHeads(FEATURES, 3, box_heads=heads, mask_head=None, fg_iou_thresholds=ious, **options)


def test_one_stage_is_the_standard_head():
    cascade = make_heads(stages=1)
    standard = StandardROIHeads(
        FEATURES,
        3,
        box_head=cascade.box_heads[0],
        mask_head=cascade.mask_head,
        batch_size_per_image=64,
        score_threshold=0.0,
    )
    one, other = losses_of(cascade), losses_of(standard)
    assert [one["cls_stage1"], one["box_stage1"], one["mask"]] == [other["cls"], other["box"], other["mask"]]
    for a, b in zip(*(h.predict(make_features(), make_proposals(), SIZES) for h in (cascade, standard)), strict=True):
        assert len(a) > 0 and torch.equal(a.labels, b.labels)
        for name in ("boxes", "scores", "mask_probs"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name))


def test_every_parameter_has_a_gradient_from_its_own_stages_losses():
    heads = make_heads()
    losses = losses_of(heads)
    assert list(losses) == [f"{kind}_stage{i}" for i in (1, 2, 3) for kind in ("cls", "box")] + ["mask"]
    for stage in (1, 2, 3):
        own = losses[f"cls_stage{stage}"] + losses[f"box_stage{stage}"]
        gradients = torch.autograd.grad(own, list(heads.box_heads.parameters()), retain_graph=True, allow_unused=True)
        per_head = len(gradients) // 3
        for i, gradient in enumerate(gradients):  # none runs through the boxes to an earlier stage
            assert (gradient is not None) == (i // per_head == stage - 1)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in heads.parameters())


def test_shared_features_get_a_third_of_each_stage():
    heads, features = make_heads(), {name: f.requires_grad_() for name, f in make_features().items()}
    standard = StandardROIHeads(
        FEATURES, 3, box_head=heads.box_heads[0], mask_head=heads.mask_head, batch_size_per_image=64
    )
    cascade, alone = losses_of(heads, features), losses_of(standard, features)

    def gradient(loss):
        return torch.autograd.grad(loss, features["p2"], retain_graph=True)[0]

    assert gradient(alone["cls"]).abs().max() > 0
    torch.testing.assert_close(gradient(cascade["cls_stage1"]) * 3, gradient(alone["cls"]))
    torch.testing.assert_close(gradient(cascade["mask"]), gradient(alone["mask"]))  # one mask head: all of it


def test_a_later_stage_sees_the_moved_boxes_matched_at_its_own_overlap():
    first, second = FixedHead([0.1, 0.0, 0.0, 0.0]), FixedHead([0.0] * 4)
    targets = make_targets()
    between = torch.tensor([[10.2, 4.0, 32.2, 30.0]])  # overlaps an object by 0.68, and once moved by 0.55
    losses_of(make_fixed(first, second), proposals=[torch.cat([p, between]) for p in make_proposals()], targets=targets)
    boxes, labels, objects = second.seen
    count = len(second.boxes[0])
    assert len(boxes) == len(first.seen[0])  # nothing is sampled again
    for image, part in enumerate((slice(0, count), slice(count, None))):
        size = SIZES[image]
        expected = first.boxes[image] + 0.1 * (first.boxes[image][:, [2]] - first.boxes[image][:, [0]]) * torch.tensor(
            [1.0, 0.0, 1.0, 0.0]
        )
        expected = expected.clamp(min=0).minimum(torch.tensor([size[1], size[0]] * 2))
        order = torch.cdist(boxes[part], expected).argmin(dim=1)
        torch.testing.assert_close(boxes[part], expected[order])
        assert order.unique().numel() == len(expected)
        iou, best = box_iou(boxes[part], targets[image].boxes).max(dim=1)
        on_object = iou >= 0.6
        assert torch.equal(labels[part], torch.where(on_object, targets[image].labels[best], 3))
        assert torch.equal(objects[part][on_object], targets[image].boxes[best][on_object])
        assert 0 < on_object.sum() < len(on_object) and ((iou > 0.5) & (iou < 0.6)).any()


def test_boxes_without_area_are_counted_and_skipped():
    away = FixedHead([50.0, 0.0, 0.0, 0.0])  # 50 widths to the right: out of the image
    last = FixedHead([0.0] * 4)
    heads = make_fixed(away, FixedHead([0.0] * 4), last)
    losses = losses_of(heads)
    assert len(last.seen[0]) == 0 and all(torch.isfinite(loss) for loss in losses.values())
    assert heads.degenerate.tolist() == [len(away.seen[0]), 0] and "degenerate" not in heads.state_dict()
    assert [len(d) for d in heads.predict(make_features(), make_proposals(), SIZES)] == [0, 0]
    nan = make_fixed(FixedHead([float("nan")] * 4), last)
    losses_of(nan)
    assert len(last.seen[0]) == 0 and nan.degenerate.tolist() == [len(nan.box_heads[0].seen[0])]
    with pytest.raises(NotFiniteError, match="box deltas are NaN"):
        nan.predict(make_features(), make_proposals(), SIZES)


def test_images_without_objects_or_proposals_train():
    heads = make_heads()
    nothing = [Targets.empty(size) for size in SIZES]
    for proposals in (make_proposals(), [torch.zeros(0, 4)] * 2):
        losses = losses_of(heads, proposals=proposals, targets=nothing)
        torch.stack(list(losses.values())).sum().backward()
        assert losses["box_stage3"] == 0 and losses["mask"] == 0
        assert (losses["cls_stage3"] > 0) == (len(proposals[0]) > 0)


def test_nan_reaches_the_losses_but_no_pooling():
    heads = make_heads()
    with torch.no_grad():
        heads.box_heads[0].deltas.bias[0] = float("nan")
    losses = losses_of(heads)
    assert torch.isnan(losses["box_stage1"]) and torch.isfinite(losses["cls_stage2"])
    with pytest.raises(NotFiniteError, match="box deltas are NaN"):
        heads.predict(make_features(), make_proposals(), SIZES)


def test_scores_are_the_mean_and_boxes_the_last():
    logits = [[3.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    heads = make_fixed(*(FixedHead([0.25, 0.0, 0.0, 0.0], one) for one in logits), nms_threshold=1.0)
    box = torch.tensor([[8.0, 8.0, 16.0, 24.0]])
    found, nothing = heads.predict(make_features(), [box, torch.zeros(0, 4)], SIZES)
    assert len(nothing) == 0 and sorted(found.labels.tolist()) == [0, 1, 2]
    expected = torch.tensor(logits).softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(found.scores, expected[found.labels])
    torch.testing.assert_close(found.boxes, box.expand(3, 4) + torch.tensor([6.0, 0.0, 6.0, 0.0]))


def test_boxes_in_crowd_regions_are_skipped():
    crowd = Targets(
        torch.tensor([[0.0, 0, 30, 30], [40, 40, 60, 60]]), torch.tensor([1, 2]), crowd=torch.tensor([True, False])
    )
    boxes = torch.tensor([[41.0, 40, 60, 60], [2, 2, 20, 20], [35, 2, 50, 20], [9, 9, 9, 20]])
    [labelled] = label_proposals([boxes], [crowd], num_classes=3, fg_iou_threshold=0.5)
    assert torch.equal(labelled.boxes, boxes[[0, 2]])
    assert labelled.labels.tolist() == [2, 3] and labelled.matched_idxs.tolist() == [1]
    assert labelled.gt_boxes.tolist() == [[40, 40, 60, 60], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"fg_iou_thresholds": [0.5, 0.6]}, "3 heads and 2 thresholds"),
        ({"fg_iou_thresholds": [0.5, 1.6, 0.7]}, r"fg_iou_thresholds\.1 must lie between 0 and 1, not 1.6"),
        ({"batch_size_per_image": 0}, "batch_size_per_image must be at least 1"),
        ({"nms_threshold": -0.1}, "nms_threshold"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(SegkitError, match=message):
        make_heads(**options)


def test_mistakes_in_a_configuration():
    runtime = {"in_features": FEATURES, "num_classes": 3}
    spec = {"name": "CascadeROIHeads", "mask_head": None, "fg_iou_thresholds": [0.5]}
    with pytest.raises(SegkitError, match=r"roi heads: box_heads\.0: .* set class_agnostic: true"):
        ROI_HEADS_REGISTRY.build({**spec, "box_heads": [{"name": "FastRCNNHead"}]}, **runtime)
    with pytest.raises(SegkitError, match=r"box_heads\.0\.box_wights: FastRCNNHead has no argument .* 'box_weights'"):
        ROI_HEADS_REGISTRY.build({**spec, "box_heads": [{"name": "FastRCNNHead", "box_wights": 1}]}, **runtime)
    with pytest.raises(SegkitError, match="box_heads must be at least 1"):
        ROI_HEADS_REGISTRY.build({**spec, "box_heads": [], "fg_iou_thresholds": []}, **runtime)
    config = "segkit://coco/cascade_mask_rcnn_r50_fpn.yaml"
    with pytest.raises(SegkitError, match=r"box_heads\.1\.class_agnostic \(command line\): expected true or false"):
        segkit.load_config(config, ["model.roi_heads.box_heads.1.class_agnostic=often"])
