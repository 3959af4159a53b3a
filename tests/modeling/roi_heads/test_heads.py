"""Box head, mask head and the selection of detections. Contract of all heads: ../test_registries.py."""

import pytest
import torch
from torchvision.ops import box_iou

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.roi_heads import FastRCNNHead, FCNMaskHead, StandardROIHeads
from segkit.modeling.roi_heads.postprocess import select_detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

FEATURES = {f"p{i + 2}": FeatureSpec(8, 4 << i) for i in range(4)}
BOXES = [torch.tensor([[2.0, 3, 30, 40], [10, 10, 20, 20]]), torch.zeros(0, 4), torch.tensor([[0.0, 0, 64, 64]])]


def make_features(batch=3):
    return {name: torch.randn(batch, 8, 64 // s.stride, 64 // s.stride) for name, s in FEATURES.items()}


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("classes", [4, 40])
def test_masks_and_their_loss_are_of_the_boxes_class(classes, class_agnostic):
    head = FCNMaskHead(FEATURES, classes, conv_dims=[8], class_agnostic=class_agnostic)
    hidden = []
    head.predictor.register_forward_hook(lambda module, args, output: hidden.append(args[0]))
    labels = torch.tensor([3, 0, classes - 1])
    logits = head(make_features(), BOXES, labels)
    assert logits.shape == (3, head.resolution, head.resolution)
    weight, bias = head.predictor.weight, head.predictor.bias
    for i, label in enumerate([0, 0, 0] if class_agnostic else labels.tolist()):
        torch.testing.assert_close(
            logits[i], torch.einsum("chw,c->hw", hidden[0][i], weight[label, :, 0, 0]) + bias[label]
        )
    mask_targets = torch.rand(3, head.resolution, head.resolution) > 0.5
    loss = head.losses(logits, mask_targets)["mask"]
    torch.testing.assert_close(loss, torch.nn.functional.binary_cross_entropy_with_logits(logits, mask_targets.float()))
    loss.backward()


def test_a_mask_head_of_the_former_interface_raises():
    with pytest.raises(SegkitError, match=r"Old\.of_class: .*forward\(features, boxes, labels\)"):

        class Old(FCNMaskHead):
            def of_class(self, logits, labels):
                return logits[:, 0]


def test_class_agnostic_boxes():
    head = FastRCNNHead(FEATURES, 4, class_agnostic=True, conv_dims=[8])
    _, deltas = head(make_features(), BOXES)
    decoded = head.decode(deltas, torch.cat(BOXES))
    assert decoded.shape == (3, 4, 4) and torch.equal(decoded[:, 0], decoded[:, 3])


def test_losses_without_any_proposal_are_zero():
    head = FastRCNNHead(FEATURES, 4)
    empty = torch.zeros(0, 4)
    logits, deltas = head(make_features(1), [empty])
    losses = head.losses(logits, deltas, empty, torch.zeros(0, dtype=torch.int64), empty)
    assert losses["cls"] == 0 and losses["box"] == 0


def brute_force_selection(boxes, scores, size, threshold, nms, limit):
    """Greedy NMS, one detection at a time."""
    candidates = []
    for p in range(boxes.shape[0]):
        for k in range(boxes.shape[1]):
            if scores[p, k] > threshold:
                x0, y0, x1, y1 = boxes[p, k].tolist()
                box = [
                    min(max(x0, 0), size[1]),
                    min(max(y0, 0), size[0]),
                    min(max(x1, 0), size[1]),
                    min(max(y1, 0), size[0]),
                ]
                if box[2] > box[0] and box[3] > box[1]:
                    candidates.append((scores[p, k].item(), k, box))
    kept = []
    for score, k, box in sorted(candidates, key=lambda c: -c[0]):
        same = [other for _, other_k, other in kept if other_k == k]
        if not same or box_iou(torch.tensor([box]), torch.tensor(same)).max() <= nms:
            kept.append((score, k, box))
    return kept[:limit]


def test_selection_equals_brute_force():
    corners = torch.rand(40, 3, 2) * 60 - 5
    boxes = torch.cat([corners, corners + torch.rand(40, 3, 2) * 40], dim=2)
    scores = torch.rand(40, 3)
    options = {"score_threshold": 0.3, "nms_threshold": 0.4, "limit": 12, "min_size": 0.0}
    kept = select_detections(boxes, scores, (50, 60), **options)
    expected = brute_force_selection(boxes, scores, (50, 60), 0.3, 0.4, 12)
    assert kept[1].tolist() == pytest.approx([score for score, _, _ in expected])
    assert kept[2].tolist() == [k for _, k, _ in expected]
    torch.testing.assert_close(kept[0], torch.tensor([box for _, _, box in expected]))


def test_a_score_must_be_above_the_threshold():
    boxes = torch.tensor([[[0.0, 0, 9, 9]], [[20, 20, 29, 29]]])
    options = {"nms_threshold": 0.5, "limit": 9, "min_size": 0.0}
    kept = select_detections(boxes, torch.tensor([[0.25], [0.26]]), (40, 40), score_threshold=0.25, **options)
    assert kept[0].tolist() == [[20, 20, 29, 29]]
    assert len(select_detections(boxes, torch.tensor([[0.0], [0.1]]), (40, 40), score_threshold=0.0, **options)[0]) == 1


def test_sampled_losses_use_the_right_object_for_each_mask():
    """One-hot masks of 300 objects: a wrong index would show."""
    count = 300
    x = torch.arange(count, dtype=torch.float32) % 20 * 3
    y = torch.arange(count, dtype=torch.float32).div(20, rounding_mode="floor") * 4
    boxes = torch.stack([x, y, x + 3, y + 4], dim=1)
    dense = torch.zeros(count, 64, 64, dtype=torch.bool)
    for i in range(count):
        dense[i, int(y[i]) : int(y[i]) + 4, int(x[i]) : int(x[i]) + 3] = True
    targets = [Targets(boxes, torch.arange(count) % 4, InstanceMasks.from_dense(dense))]
    heads = StandardROIHeads(
        FEATURES,
        4,
        box_head=FastRCNNHead(FEATURES, 4, fc_dims=[8]),
        mask_head=FCNMaskHead(FEATURES, 4, conv_dims=[8]),
        batch_size_per_image=count * 4,
    )
    seen = {}
    heads.mask_head.losses = lambda logits, mask_targets: seen.update(mask_targets=mask_targets) or {}
    heads.losses(make_features(1), [torch.zeros(0, 4)], targets, torch.Generator().manual_seed(0))
    # Each object's box is filled by its own mask, but for the corners, where the bilinear samples fall under a half.
    assert len(seen["mask_targets"]) == count
    assert (seen["mask_targets"].float().mean(dim=(1, 2)) > 0.9).all()


@pytest.fixture
def telling():
    """Heads whose mask logits are the labels that the mask head receives."""
    heads = StandardROIHeads(
        FEATURES,
        4,
        box_head=FastRCNNHead(FEATURES, 4, fc_dims=[8]),
        mask_head=FCNMaskHead(FEATURES, 4, conv_dims=[8]),
        score_threshold=0.0,
    )
    predictor = heads.mask_head.predictor
    torch.nn.init.zeros_(predictor.weight)
    with torch.no_grad():
        predictor.bias.copy_(torch.arange(4))
    return heads


def test_detections_have_the_masks_of_their_own_class(telling):
    for found in telling.predict(make_features(), BOXES, [(64, 64)] * 3):
        assert len(found.labels.unique()) == (4 if len(found) else 0)
        torch.testing.assert_close(found.mask_probs, found.labels.float().sigmoid()[:, None, None].expand(-1, 28, 28))


def test_the_mask_head_trains_on_each_objects_own_class(telling):
    targets = [
        Targets(boxes, labels, InstanceMasks.from_dense(torch.ones(len(boxes), 64, 64, dtype=torch.bool)))
        for boxes, labels in ((BOXES[0], torch.tensor([3, 1])), (BOXES[2], torch.tensor([2])))
    ]
    calls = []
    telling.mask_head.register_forward_hook(lambda module, args, output: calls.append((args[1], output)))
    telling.losses(make_features(2), [torch.zeros(0, 4)] * 2, targets, torch.Generator().manual_seed(0))
    ((boxes, logits),) = calls
    expected = [
        image.labels[(image.boxes == box).all(1)] for image, some in zip(targets, boxes, strict=True) for box in some
    ]
    assert len(expected) == 3 and logits[:, 0, 0].tolist() == torch.cat(expected).tolist()


def test_images_without_objects_train():
    heads = StandardROIHeads(
        FEATURES, 4, box_head=FastRCNNHead(FEATURES, 4), mask_head=FCNMaskHead(FEATURES, 4, conv_dims=[8])
    )
    losses = heads.losses(make_features(1), [BOXES[0]], [Targets.empty((64, 64))], None)
    assert losses["mask"] == 0 and losses["box"] == 0 and losses["cls"] > 0
    sum(losses.values()).backward()


def test_predictions_are_limited_and_sorted():
    heads = StandardROIHeads(
        FEATURES,
        4,
        box_head=FastRCNNHead(FEATURES, 4),
        mask_head=FCNMaskHead(FEATURES, 4, conv_dims=[8]),
        detections_per_image=5,
        score_threshold=0.0,
    )
    sizes = [(64, 64)] * 3
    results = heads.predict(make_features(), BOXES, sizes)
    assert [len(d) for d in results][1] == 0
    for d in results:
        assert len(d) <= 5 and (d.scores.diff() <= 0).all() and d.mask_probs.shape == (len(d), 28, 28)


def test_mistakes():
    with pytest.raises(SegkitError, match="score_threshold"):
        StandardROIHeads(FEATURES, 4, box_head=FastRCNNHead(FEATURES, 4), mask_head=None, score_threshold=1.5)
    with pytest.raises(SegkitError, match="conv_dims"):
        FCNMaskHead(FEATURES, 4, conv_dims=[])
