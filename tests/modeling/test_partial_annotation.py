"""Training on partly annotated images: no negative in an ignore region, no gradient against an unlabelled class."""

import pytest
import torch
from torchvision.ops import box_iou

from segkit.modeling import BoxHead
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.matching import BACKGROUND, FOREGROUND, IGNORED, match_targets
from segkit.modeling.proposals import AnchorGenerator
from segkit.modeling.proposals import rpn as rpn_module
from segkit.modeling.roi_heads import CascadeROIHeads, FastRCNNHead, StandardROIHeads, proposal_sampling
from segkit.structures import InstanceMasks, Targets
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.errors import SegkitError
from tests.modeling.meta_arch.detectors import build

FEATURES = {f"p{i + 2}": FeatureSpec(8, 4 << i) for i in range(4)}
THRESHOLDS = {"fg_iou_threshold": 0.5, "bg_iou_threshold": 0.3, "allow_low_quality_matches": False}
SIZE = (64, 64)


def partial_targets(unlabelled=(), *, regions=True):
    """Two objects; all but a lying L is an ignore region, whose box is the whole image, and another is only a box."""
    dense = torch.zeros(3, *SIZE, dtype=torch.bool)
    dense[0, 4:20, 6:22] = True
    dense[1, 30:50, 10:28] = True
    dense[2] = True
    dense[2, :, :30] = False
    dense[2, 52:, :] = False
    masks = InstanceMasks.from_dense(dense)
    box_only = Targets(torch.tensor([[0.0, 54, 12, 64]]), torch.tensor([ALL_CLASSES]), None, torch.tensor([True]))
    targets = Targets(masks.boxes(), torch.tensor([2, 0, ALL_CLASSES]), masks, torch.tensor([False, False, True]))
    targets = Targets.cat([targets, box_only]) if regions else targets[:2]
    targets.unlabelled = torch.tensor(unlabelled, dtype=torch.int64)
    return targets


def random_boxes(seed, count=400):
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 64
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def share_in(region, box):
    """Share of a box inside of a region, by sums over subpixels of an eighth; the box may reach beyond the image."""
    x0, y0, x1, y1 = (round(v * 8) + 8 * 64 for v in box)
    fine = torch.nn.functional.pad(region, (64, 64, 64, 64)).repeat_interleave(8, 0).repeat_interleave(8, 1)
    return float(fine[y0:y1, x0:x1].float().mean())


def test_background_half_inside_the_regions_is_ignored():
    """Boxes in and around the image: of those beyond it, only the part in the image counts for masks."""
    targets = partial_targets()
    boxes = ((random_boxes(0) * 1.6 - 20) * 8).round() / 8
    clipped = boxes.clamp(min=0, max=64)
    boxes = boxes[(clipped[:, 2:] > clipped[:, :2]).all(1)]
    clipped = boxes.clamp(min=0, max=64)
    plain = match_targets(boxes, partial_targets(regions=False), **THRESHOLDS)
    found = match_targets(boxes, targets, **THRESHOLDS)
    region, other = targets.masks[[2]].to_dense()[0], torch.zeros(SIZE, dtype=torch.bool)
    other[54:, :12] = True
    inside = torch.tensor([share_in(region, b) >= 0.5 for b in clipped.tolist()])
    inside |= torch.tensor([share_in(other, b) >= 0.5 for b in boxes.tolist()])
    inside |= (box_iou(clipped, targets.boxes[[2]]) >= 0.5).squeeze(1)
    expected = torch.where(inside & (plain.match_labels == BACKGROUND), IGNORED, plain.match_labels)
    assert torch.equal(found.match_labels, expected.to(torch.int8))
    assert torch.equal(found.matched_idxs, plain.matched_idxs)
    assert {FOREGROUND, BACKGROUND} <= set(found.match_labels[~inside].tolist())
    assert (expected != plain.match_labels).sum() > 50


def test_an_image_without_annotation_has_no_background():
    """The region is the image. Anchors that reach beyond it are in the region, those beside it are in the padding."""
    masks = InstanceMasks.from_dense(torch.ones(1, *SIZE, dtype=torch.bool))
    nothing = Targets(masks.boxes(), torch.tensor([ALL_CLASSES]), masks, torch.tensor([True]))
    anchors = torch.cat(AnchorGenerator(FEATURES, sizes=[[8], [16], [32], [64]])([(24, 24), (12, 12), (6, 6), (3, 3)]))
    touching = ((anchors[:, 2:] > 0) & (anchors[:, :2] < 64)).all(1)
    labels = match_targets(anchors, nothing, **THRESHOLDS).match_labels
    assert (labels[touching] == IGNORED).all() and (labels[~touching] == BACKGROUND).all()
    assert (anchors[touching] < 0).any() and (~touching).any()


def test_the_regions_of_an_image_are_one():
    """A box half in two regions together, and in neither of them alone."""
    dense = torch.zeros(2, *SIZE, dtype=torch.bool)
    dense[0, :, :8], dense[1, :, 12:20] = True, True
    masks = InstanceMasks.from_dense(dense)
    stripes = Targets(masks.boxes(), torch.full((2,), ALL_CLASSES), masks, torch.ones(2, dtype=torch.bool))
    boxes = torch.tensor([[4.0, 0, 16, 8], [2, 0, 14, 8], [6, 0, 14, 8]])
    assert match_targets(boxes, stripes, **THRESHOLDS).match_labels.tolist() == [IGNORED, IGNORED, IGNORED]
    assert match_targets(boxes, stripes[:1], **THRESHOLDS).match_labels.tolist() == [BACKGROUND, IGNORED, BACKGROUND]


def test_a_box_of_a_thin_region_is_ignored():
    """A diagonal object of an ignored category fills little of its box, and a proposal of it is no background."""
    mask = torch.eye(64, dtype=torch.bool)[None]
    mask[0, 40:], mask[0, :20] = False, False
    masks = InstanceMasks.from_dense(mask)
    thin = Targets(masks.boxes(), torch.tensor([ALL_CLASSES]), masks, torch.tensor([True]))
    boxes = torch.tensor([[20.0, 20, 40, 40], [22, 20, 40, 38], [20, 20, 30, 29], [0, 0, 20, 20]])
    assert match_targets(boxes, thin, **THRESHOLDS).match_labels.tolist() == [IGNORED] * 2 + [BACKGROUND] * 2


def test_an_object_in_a_region_is_matched():
    targets = partial_targets()
    whole = Targets(torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([ALL_CLASSES]),
                    InstanceMasks.from_dense(torch.ones(1, *SIZE, dtype=torch.bool)), torch.tensor([True]))  # fmt: skip
    both = Targets.cat([whole, targets[:2]])
    found = match_targets(torch.cat([targets.boxes[:2], torch.tensor([[40.0, 0, 60, 20]])]), both, **THRESHOLDS)
    assert found.match_labels.tolist() == [FOREGROUND, FOREGROUND, IGNORED] and found.matched_idxs[:2].tolist() == [
        0,
        1,
    ]


def test_coco_crowds_with_masks_count_as_their_boxes():
    """As before ignore regions, so that training on COCO does not change."""
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, 0, :], mask[0, :, 0] = True, True  # an L whose box is the image
    crowd = Targets(
        torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([1]), InstanceMasks.from_dense(mask), torch.tensor([True])
    )
    assert (match_targets(random_boxes(1), crowd, **THRESHOLDS).match_labels == IGNORED).all()


@pytest.mark.parametrize("name", ["class-agnostic", "cascade", "proposals"])
def test_no_stage_samples_a_negative_in_a_region(name, monkeypatch):
    """Every box that a loss takes as background has less than half of its area in the regions."""
    negatives = []
    original = rpn_module.subsample_labels

    def subsample(labels, *arguments):
        chosen = original(labels, *arguments)
        assert (labels[chosen[1]] == BACKGROUND).all()
        return chosen

    def matched(module):
        function = module.match_targets

        def spy(boxes, targets, **thresholds):
            found = function(boxes, targets, **thresholds)
            negatives.append(boxes[found.match_labels == BACKGROUND])
            return found

        monkeypatch.setattr(module, "match_targets", spy)

    monkeypatch.setattr(rpn_module, "subsample_labels", subsample)
    matched(rpn_module)
    matched(proposal_sampling)
    model = build(name).train()
    targets = partial_targets()
    images = torch.randint(0, 255, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    losses = model.losses(list(images), [targets], torch.Generator().manual_seed(0))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert len(negatives) == {"class-agnostic": 2, "cascade": 4, "proposals": 1}[name]
    region = targets.masks[[2]].to_dense()[0]
    for boxes in negatives:
        boxes = boxes.clamp(min=0, max=64)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
        sides = boxes[:, 2:] - boxes[:, :2]
        inside = targets.region_areas().areas(boxes)
        assert (inside < 0.5 * sides.prod(1)).all()
        for box in boxes[:: max(1, len(boxes) // 20)].tolist():
            if min(box[2] - box[0], box[3] - box[1]) > 4:
                assert share_in(region, box) < 0.56  # subpixels of an eighth


@pytest.mark.parametrize("name", ["class-agnostic", "cascade", "proposals"])
def test_an_image_without_annotation_trains_nothing(name):
    """No anchor and no proposal is sampled; all losses are 0, and so are their gradients."""
    masks = InstanceMasks.from_dense(torch.ones(1, *SIZE, dtype=torch.bool))
    nothing = Targets(masks.boxes(), torch.tensor([ALL_CLASSES]), masks, torch.tensor([True]))
    model = build(name).train()
    losses = model.losses([torch.zeros(3, *SIZE, dtype=torch.uint8)], [nothing])
    sum(losses.values()).backward()
    assert {float(loss.detach()) for loss in losses.values()} == {0.0}
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def heads(kind):
    torch.manual_seed(0)
    make = lambda: FastRCNNHead(FEATURES, 4, fc_dims=[16], class_agnostic=True)  # noqa: E731
    if kind == "standard":
        return StandardROIHeads(FEATURES, 4, box_head=make(), mask_head=None, batch_size_per_image=64)
    return CascadeROIHeads(FEATURES, 4, box_heads=[make(), make()], mask_head=None, fg_iou_thresholds=(0.5, 0.6))


def losses_and_logits(kind, targets):
    model, logits = heads(kind), []
    for head in model.modules():
        if isinstance(head, FastRCNNHead):
            head.classifier.register_forward_hook(lambda module, args, output: logits.append(output))
    generator = torch.Generator().manual_seed(0)
    features = {k: torch.randn(2, 8, 64 // s.stride, 64 // s.stride, generator=generator) for k, s in FEATURES.items()}
    proposals = [random_boxes(2, 40), random_boxes(3, 40)]
    losses = model.losses(features, proposals, targets, torch.Generator().manual_seed(1), [SIZE, SIZE])
    for tensor in logits:
        tensor.retain_grad()
    sum(losses.values()).backward()
    return losses, [tensor.grad for tensor in logits], proposals


@pytest.mark.parametrize("kind", ["standard", "cascade"])
def test_unlabelled_classes_get_no_gradient_from_background(kind):
    """In the first image the classes 1 and 3 are unlabelled; the foreground and the second image are as ever."""
    plain, plain_gradients, _ = losses_and_logits(kind, [partial_targets(), partial_targets()])
    losses, gradients, _ = losses_and_logits(kind, [partial_targets([1, 3]), partial_targets()])
    for before, after in zip(plain_gradients, gradients, strict=True):
        changed = (before != after).any(1)
        assert changed.any() and not changed.all()
        excluded = (after[:, [1, 3]] == 0).all(1)
        assert torch.equal(changed, excluded)  # background of the first image, and nothing else
        assert (before[:, [1, 3]] != 0).all()
        # The remaining logits are a softmax of their own: the gradients of a row add up to 0.
        torch.testing.assert_close(
            after[changed][:, [0, 2, 4]].sum(1), torch.zeros(int(changed.sum())), atol=1e-6, rtol=0
        )
        assert (after[changed][:, 4] < 0).all()  # towards background, against the labelled classes
    key = "cls" if kind == "standard" else "cls_stage1"
    assert losses[key] < plain[key] and torch.equal(losses[key.replace("cls", "box")], plain[key.replace("cls", "box")])


def test_losses_without_unlabelled_classes_do_not_call_the_head_otherwise():
    class Old(FastRCNNHead):
        def losses(self, logits, pred_deltas, proposals, labels, gt_boxes):
            return super().losses(logits, pred_deltas, proposals, labels, gt_boxes)

    model = heads("standard")
    model.box_head = Old(FEATURES, 4, fc_dims=[16], class_agnostic=True)
    assert isinstance(model.box_head, BoxHead)
    features = {k: torch.randn(1, 8, 64 // s.stride, 64 // s.stride) for k, s in FEATURES.items()}
    model.losses(features, [random_boxes(2, 40)], [partial_targets()], None)
    with pytest.raises(SegkitError, match=r"Old .*unlabelled=None to Old\.losses"):
        model.losses(features, [random_boxes(2, 40)], [partial_targets([1])], None)


def test_unlabelled_classes_are_classes():
    image = torch.zeros(3, *SIZE, dtype=torch.uint8)
    with pytest.raises(SegkitError, match=r"targets\[0\]: unlabelled classes \[1, 3\]; expected 0 to 2"):
        build("faster").losses([image], [partial_targets([1, 3])])


def test_labels_below_zero_are_regions_only():
    model = build("faster")
    image = torch.zeros(3, *SIZE, dtype=torch.uint8)
    bad = Targets(torch.tensor([[1.0, 1, 9, 9]]), torch.tensor([ALL_CLASSES]))
    with pytest.raises(SegkitError, match=r"labels -1 to .* -1 is for ignore regions only, which have crowd set"):
        model.losses([image], [bad])
    assert model.losses([image], [Targets.cat([bad[:0], partial_targets()[2:]])])["cls"] >= 0
