"""The loss of each annotated object, compared with torch's losses by hand."""

import pytest
import torch
from torch.nn import functional as F

from segkit.modeling import FastRCNNHead, ROIHeads, StandardROIHeads, TinyNet, mask_rcnn, object_losses
from segkit.modeling.meta_arch import ProposalNetwork
from segkit.modeling.object_losses import UNPROPOSED
from segkit.registry import META_ARCH_REGISTRY
from segkit.structures.mask_targets import mask_targets
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError

SIZES = [(64, 96), (80, 64)]
losses_of = object_losses.object_losses


def make_model(**changes):
    torch.manual_seed(0)
    model = mask_rcnn(TinyNet(width=8), 3, fpn_channels=16, mask_conv_dims=(8,), fc_dims=(16,), **changes)
    for module in (model.roi_heads.box_head.classifier, model.roi_heads.mask_head.predictor):
        torch.nn.init.normal_(module.weight, std=0.3)
    return model.eval()


def make_data(seed=1, counts=(5, 3)):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.rand(3, *size, generator=generator) for size in SIZES]
    targets = []
    for (height, width), count in zip(SIZES, counts, strict=True):
        dense = torch.zeros(count, height, width, dtype=torch.bool)
        for mask in dense:
            x, y = (int(torch.randint(0, side - 25, (1,), generator=generator)) for side in (width, height))
            w, h = torch.randint(8, 24, (2,), generator=generator).tolist()
            mask[y : y + h, x : x + w] = True
            mask[y, x] = False
        masks = InstanceMasks.from_dense(dense)
        labels = torch.randint(0, 3, (count,), generator=generator)
        targets.append(Targets(masks.boxes().float(), labels, masks))
    return images, targets


def test_equal_to_torchs_losses_on_ground_truth_boxes():
    model, (images, targets) = make_model(), make_data()
    found = losses_of(model, images, targets)
    with torch.no_grad():
        features = model.features(model.preprocess(images).tensor)
        heads = model.roi_heads
        logits, _ = heads.box_head(features, [one.boxes for one in targets])
        labels = torch.cat([one.labels for one in targets])
        expected = F.cross_entropy(logits, labels, reduction="none")
        torch.testing.assert_close(torch.cat([one.cls for one in found]), expected)
        assert expected.std() > 0.05  # the losses differ
        mask_logits = heads.mask_head(features, [one.boxes for one in targets], labels)
        wholes = [mask_targets(t.masks, torch.arange(len(t)), t.boxes, heads.mask_head.resolution) for t in targets]
        for got, one, whole in zip(torch.cat([f.mask for f in found]), mask_logits, torch.cat(wholes), strict=True):
            torch.testing.assert_close(got, F.binary_cross_entropy_with_logits(one, whole.float()))
    torch.testing.assert_close(found[0].total, found[0].cls + found[0].mask)
    assert not found[0].cls.requires_grad


def test_a_wrong_label_and_a_shifted_mask_have_the_highest_losses():
    class BySize(FastRCNNHead):
        """Sure of class 0 for narrow boxes and of class 1 for wide ones."""

        def forward(self, features, boxes):
            _, deltas = super().forward(features, boxes)
            boxes = torch.cat(list(boxes))
            wide = (boxes[:, 2] - boxes[:, 0] > 16).float()
            zeros = torch.zeros_like(wide)
            return torch.stack([4 - 4 * wide, 4 * wide, zeros, zeros], 1), deltas

    model, (images, targets) = make_model(), make_data(2, (8, 8))
    head = model.roi_heads.box_head
    head.__class__ = BySize
    for one in targets:
        one.labels[:] = (one.boxes[:, 2] - one.boxes[:, 0] > 16).long()
    targets[1].labels[2] = 1 - targets[1].labels[2]
    found = losses_of(model, images, targets)
    losses = torch.cat([one.cls for one in found])
    assert int(losses.argmax()) == 8 + 2
    assert losses[10] > 4 and losses[torch.arange(16) != 10].max() < 0.1


def test_cascade_scores_boxes_as_in_prediction():
    cascade = META_ARCH_REGISTRY.get("GeneralizedRCNN").examples[0]
    heads = {
        "name": "CascadeROIHeads",
        "box_heads": [{"name": "FastRCNNHead", "fc_dims": [16], "class_agnostic": True}] * 2,
        "fg_iou_thresholds": [0.5, 0.6],
        "mask_head": None,
        "score_threshold": 0.0,
        "nms_threshold": 1.0,
    }
    torch.manual_seed(0)
    model = META_ARCH_REGISTRY.build({"name": "GeneralizedRCNN", **cascade, "roi_heads": heads}, num_classes=3).eval()
    for head in model.roi_heads.box_heads:
        torch.nn.init.normal_(head.classifier.weight, std=0.3)
    images, targets = make_data()
    features = {k: v.detach() for k, v in model.features(model.preprocess(images).tensor).items()}
    one = targets[0].boxes[:1]
    detected = model.roi_heads.predict({k: v[:1] for k, v in features.items()}, [one], SIZES[:1])[0]
    by_label = dict(zip(detected.labels.tolist(), detected.scores.tolist(), strict=True))
    for label in range(3):
        targets[0].labels[0] = label
        found = losses_of(model, images, targets)[0]
        assert float(found.cls[0]) == pytest.approx(-torch.tensor(by_label[label]).log().item(), abs=1e-4)
        assert found.mask.isnan().all()
        assert torch.equal(found.total, found.cls)


def test_what_has_no_loss():
    """Regions, boxes without area, objects without a mask, images without objects."""
    model, (images, targets) = make_model(), make_data()
    whole = losses_of(model, images, targets)
    masks = InstanceMasks.cat([targets[0].masks[:3], InstanceMasks.empty(SIZES[0], 2)])
    boxes = targets[0].boxes.clone()
    boxes[4, 2:] = boxes[4, :2]
    labels = targets[0].labels.clone()
    labels[1] = ALL_CLASSES
    crowd, has_mask = torch.tensor([[0, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    changed = Targets(boxes, labels, masks, crowd, has_mask)
    first, second = losses_of(model, images, [changed, Targets.empty(SIZES[1])])
    assert first.cls.isnan().tolist() == [False, True, False, False, True]
    assert first.mask.isnan().tolist() == [False, True, False, True, True]
    torch.testing.assert_close(first.cls[[0, 2, 3]], whole[0].cls[[0, 2, 3]])
    torch.testing.assert_close(first.mask[[0, 2]], whole[0].mask[[0, 2]])
    assert len(second.cls) == len(second.mask) == 0


def test_chunks_do_not_change_the_losses(monkeypatch):
    model, (images, targets) = make_model(), make_data(3, (7, 4))
    whole = losses_of(model, images, targets)
    monkeypatch.setattr(object_losses, "CHUNK", 2)
    for one, other in zip(whole, losses_of(model, images, targets), strict=True):
        torch.testing.assert_close(one.total, other.total)


def test_objects_of_a_model_without_classes():
    torch.manual_seed(0)
    model = META_ARCH_REGISTRY.build({"name": "ProposalNetwork", **ProposalNetwork.examples[0]}, num_classes=2).eval()
    images, targets = make_data()
    boxes, logits = targets[0].boxes, torch.tensor([2.0, -1.0, 1.0])
    proposals = torch.cat([boxes[:2], boxes[:1] + 0.5])
    model.proposal_generator.scored_proposals = lambda output, sizes, training: [
        (proposals, logits),
        (torch.zeros(0, 4), torch.zeros(0)),
    ]
    first, second = losses_of(model, images, targets)
    assert float(first.cls[0]) == pytest.approx(-torch.tensor(2.0).sigmoid().log().item(), abs=1e-6)
    assert second.cls.tolist() == pytest.approx([UNPROPOSED] * 3)
    assert first.mask.isnan().all()


def test_models_that_have_no_losses_of_objects():
    images, targets = make_data()
    with pytest.raises(SegkitError, match="not a Linear"):
        losses_of(torch.nn.Linear(1, 1), images, targets)

    class OwnHeads(StandardROIHeads):
        class_log_probs = ROIHeads.class_log_probs

    model = make_model()
    model.roi_heads.__class__ = OwnHeads
    with pytest.raises(SegkitError, match="OwnHeads has no class_log_probs"):
        losses_of(model, images, targets)
