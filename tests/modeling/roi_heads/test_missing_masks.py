"""Objects that have a box and no mask: box heads train on them, the mask head on the others alone."""

import itertools
import logging

import pytest
import torch
from torchvision.ops import roi_align

import segkit
from segkit.modeling.backbones import TinyNet
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.modes import evaluation_mode
from segkit.modeling.roi_heads import CascadeROIHeads, FastRCNNHead, FCNMaskHead, StandardROIHeads
from segkit.structures import InstanceMasks, Targets

FEATURES = {f"p{i + 2}": FeatureSpec(8, 4 << i) for i in range(4)}
SIZES = [(64, 64), (48, 64)]
CHOICES = [
    chosen for count in range(5) for chosen in itertools.combinations(range(4), count)
]  # of which masks are kept


def make_features():
    generator = torch.Generator().manual_seed(0)
    return {k: torch.randn(2, 8, 64 // s.stride, 64 // s.stride, generator=generator) for k, s in FEATURES.items()}


def dense_masks():
    dense = torch.zeros(4, 64, 64, dtype=torch.bool)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    dense[0] = (y - 15) ** 2 + (x - 16) ** 2 < 120
    dense[1] = (abs(y - 30) + abs(x - 45)) < 14
    dense[2, 2:30, 30:60] = (x + y)[2:30, 30:60] > 50
    dense[3, 30:46, 3:25] = True
    return dense


def make_targets(kept=range(4)):
    """Two images of two objects; of the four those of ``kept`` have a mask."""
    dense = dense_masks()
    targets = []
    for indices, (height, _) in zip(([0, 1], [2, 3]), SIZES, strict=True):
        whole = InstanceMasks.from_dense(dense[indices, :height])
        has_mask = torch.tensor([n in kept for n in indices])
        masks = InstanceMasks.from_dense(dense[indices, :height] & has_mask[:, None, None])
        targets.append(
            Targets(whole.boxes(), torch.tensor(indices) % 3, masks if has_mask.any() else None, has_mask=has_mask)
        )
    return targets


def make_proposals():
    generator = torch.Generator().manual_seed(3)
    noise = (torch.rand(2, 2, 12, 4, generator=generator) - 0.5) * 6
    return [
        (t.boxes[:, None] + n).reshape(-1, 4).clamp(min=0, max=48) for t, n in zip(make_targets(), noise, strict=True)
    ]


def make_heads(kind):
    torch.manual_seed(0)
    mask_head = FCNMaskHead(FEATURES, 3, conv_dims=[8])
    options = {"mask_head": mask_head, "batch_size_per_image": 64, "positive_fraction": 0.5}
    if kind == "standard":
        return StandardROIHeads(FEATURES, 3, box_head=FastRCNNHead(FEATURES, 3, fc_dims=[16]), **options)
    heads = [FastRCNNHead(FEATURES, 3, fc_dims=[16], class_agnostic=True) for _ in range(2)]
    return CascadeROIHeads(FEATURES, 3, box_heads=heads, fg_iou_thresholds=(0.5, 0.6), **options)


def losses_of(heads, targets):
    return heads.losses(make_features(), make_proposals(), targets, torch.Generator().manual_seed(7), SIZES)


@pytest.mark.parametrize("kind", ["standard", "cascade"])
@pytest.mark.parametrize("kept", CHOICES, ids=lambda kept: "".join(map(str, kept)) or "none")
def test_the_mask_loss_is_the_mean_over_proposals_on_objects_with_a_mask(kind, kept):
    heads = make_heads(kind)
    seen = []
    heads.mask_head.register_forward_hook(lambda module, args, output: seen.append((args[1], args[2], output)))
    whole, found = losses_of(heads, make_targets()), losses_of(heads, make_targets(kept))
    assert {k: v for k, v in found.items() if k != "mask"} == {k: v for k, v in whole.items() if k != "mask"}
    (all_boxes, _, _), (boxes, labels, logits) = seen
    # The object of a box is the one that it overlaps most; none of these overlaps two objects of an image by half.
    dense, expected, targets = dense_masks().float(), [], []
    for i, image in enumerate(make_targets()):
        for box in all_boxes[i]:
            inside = (torch.minimum(box[2:], image.boxes[:, 2:]) - torch.maximum(box[:2], image.boxes[:, :2])).clamp(
                min=0
            )
            number = 2 * i + int(inside.prod(1).argmax())
            if number in kept:
                expected.append(box)
                mask = dense[number : number + 1, : SIZES[i][0]][None]
                targets.append(roi_align(mask, [box[None]], (28, 28), sampling_ratio=0, aligned=True)[0, 0] >= 0.5)
    assert torch.equal(torch.cat(list(boxes)), torch.stack(expected) if expected else torch.zeros(0, 4))
    assert len(labels) == len(expected) and logits.shape == (len(expected), 28, 28)
    if expected:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.stack(targets).float())
        torch.testing.assert_close(found["mask"], loss)
    else:
        assert found["mask"] == 0
    sum(found.values()).backward()
    assert all(p.grad is not None for p in heads.parameters())
    if not expected:
        assert all((p.grad == 0).all() for p in heads.mask_head.parameters())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return segkit.mask_rcnn(
        TinyNet(width=8), num_classes=3, fpn_channels=16, anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        mask_conv_dims=(16,), fc_dims=(32,),
    )  # fmt: skip


IMAGES = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in SIZES]


def as_boxes(targets):
    return Targets(targets.boxes, targets.labels, None, targets.crowd)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_boxes_alone_train_a_whole_model(model, mode):
    model.train(mode == "train")
    bare = [as_boxes(t) for t in make_targets()]
    generator = torch.Generator()
    with evaluation_mode(model):  # batch statistics move in training
        whole = model.losses(IMAGES, make_targets(), generator.manual_seed(1))
        found = model.losses(IMAGES, bare, generator.manual_seed(1))
        detections, again = model.predict_with_losses(IMAGES, bare, generator.manual_seed(1))
    assert found.keys() == whole.keys() == again.keys() and found["mask"] == 0 and len(detections) == 2
    for name in whole.keys() - {"mask"}:
        assert torch.equal(found[name], whole[name]) and torch.allclose(again[name], whole[name])
    torch.stack(list(model.losses(IMAGES, bare).values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_kinds_of_images_in_one_batch(model):
    """With masks, without, mixed, without objects, of crowd boxes alone, with a box that has no area."""
    boxes = torch.tensor([[0.0, 0, 64, 30], [5, 5, 5, 20]])
    crowd = Targets(boxes, torch.tensor([0, 1]), None, torch.tensor([True, False]))
    kinds = [*make_targets(), as_boxes(make_targets()[0]), make_targets([0])[0], Targets.empty((64, 64)), crowd]
    images = [torch.zeros(3, *(SIZES[1] if i == 1 else SIZES[0]), dtype=torch.uint8) for i in range(len(kinds))]
    losses = model.eval().losses(images, kinds)
    assert all(torch.isfinite(loss) for loss in losses.values()) and losses["mask"] > 0
    assert torch.isfinite(losses["cls"]) and model.losses(images[-1:], [crowd])["mask"] == 0


def test_training_a_mask_head_without_masks_warns_once(model, caplog):
    bare = [as_boxes(t) for t in make_targets()]
    with caplog.at_level(logging.WARNING):
        with torch.no_grad():
            model.losses(IMAGES, bare)  # validation losses train nothing
        model.losses(IMAGES, make_targets([1]))
        model.losses([IMAGES[0]], [Targets.empty((64, 64))])
        crowd = Targets(torch.tensor([[0.0, 0, 30, 30]]), torch.tensor([0]), None, torch.tensor([True]))
        model.losses([IMAGES[0]], [crowd])  # a region, which needs no mask
        assert not caplog.records
        for _ in range(3):
            model.losses(IMAGES, bare)
    (record,) = caplog.records
    assert record.getMessage().startswith("none of the 4 objects of a batch has a mask")
