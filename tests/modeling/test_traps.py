"""Known traps 1 to 15 of detection models, each compared with a reference.

A docstring names the file with more tests of a trap.
"""

from __future__ import annotations

import inspect
import logging

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import nms, roi_align

import segkit
from segkit.data.transforms import Resize
from segkit.modeling.backbones import TinyNet
from segkit.modeling.layers.box_regression import apply_deltas
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.matching import match_boxes
from segkit.modeling.layers.nms import batched_nms
from segkit.modeling.proposals import RPN, AnchorGenerator, RPNHead
from segkit.modeling.roi_heads import FastRCNNHead, FCNMaskHead, StandardROIHeads
from segkit.structures import Detections, InstanceMasks, Sample, Targets, mask_targets
from segkit.utils.errors import SegkitError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
HALVES = [torch.bfloat16, torch.float16]


class LargestTensor(TorchDispatchMode):
    """Records the bytes of the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel() * value.element_size())
        return result


@pytest.fixture
def ours():
    torch.manual_seed(0)
    return segkit.mask_rcnn(
        TinyNet(width=8),
        num_classes=2,
        fpn_channels=16,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        mask_conv_dims=(16,),
        fc_dims=(32,),
        score_threshold=0.0,
        detections_per_image=20,
    )


def image():
    return torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))


def targets(boxes, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32)
    dense = torch.zeros(len(boxes), 64, 64, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(dense, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Targets(boxes, labels, InstanceMasks.from_dense(dense))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALVES)
def test_1_geometry_in_half_precision(dtype, device):
    """Anchors and decoded boxes. The whole model under autocast: tests/modeling/meta_arch/test_generalized_rcnn.py."""
    features = {"p2": FeatureSpec(8, 4)}
    anchors = AnchorGenerator(features, sizes=[[20]])
    rpn = RPN(features, anchor_generator=anchors, head=RPNHead(features, 3), nms_threshold=1.0).to(device)
    nn.init.zeros_(rpn.head.deltas.weight)  # so that a proposal is its anchor
    maps = torch.randn(1, 8, 8, 301, device=device)
    exact = anchors([(8, 301)])[0].cpu()
    with torch.autocast(device, dtype=dtype):
        output = rpn({"p2": maps})
        (boxes,) = rpn.proposals(output, [(2000, 2000)], training=True)
    assert output.objectness[0].dtype == dtype and boxes.dtype == torch.float32
    distance = torch.cdist(boxes.cpu(), exact.clamp(min=0), p=float("inf"))
    assert distance.min(dim=1).values.max() < 1e-3 and len(boxes) == 1000
    deltas = torch.randn(len(exact), 4, device=device).to(dtype) / 4
    moved = apply_deltas(deltas, exact.to(device), (1.0,) * 4)
    reference = BoxCoder((1.0,) * 4).decode_single(deltas.cpu().double(), exact.double())
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved.cpu().double(), reference, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALVES)
def test_2_masks_of_more_than_256_objects(dtype, device):
    count, side = 600, 4
    cells = torch.arange(count)
    corners = torch.stack([cells % 32 * side, cells // 32 * side], dim=1).float()
    boxes = torch.cat([corners, corners + side], dim=1)
    label_map = torch.zeros(128, 128, dtype=torch.int64)
    for i, (x, y) in enumerate(corners.int().tolist()):
        label_map[y : y + side, x : x + side] = i + 1
    objects = Targets(boxes, torch.zeros(count, dtype=torch.int64), InstanceMasks.from_label_map(label_map)).to(device)
    features = {f"p{i}": FeatureSpec(8, 1 << i) for i in range(2, 6)}
    heads = StandardROIHeads(
        features, 1, box_head=FastRCNNHead(features, 1, fc_dims=[4]), mask_head=FCNMaskHead(features, 1, conv_dims=[4]),
        batch_size_per_image=4 * count,
    ).to(device)  # fmt: skip
    seen = {}
    heads.mask_head.losses = lambda logits, mask_targets: seen.update(targets=mask_targets) or {}
    maps = {name: torch.randn(1, 8, 128 // s.stride, 128 // s.stride, device=device) for name, s in features.items()}
    with torch.autocast(device, dtype=dtype):
        heads.losses(maps, [torch.zeros(0, 4, device=device)], [objects], torch.Generator(device).manual_seed(0))
    # Each object fills its own box; an index that is rounded in half precision would select another, empty mask.
    assert len(seen["targets"]) == count and seen["targets"].float().mean(dim=(1, 2)).min() > 0.9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALVES)
def test_3_nms_by_class_in_half_precision(dtype, device):
    """In fp32 against brute force: tests/modeling/layers/test_boxes.py."""
    corners = torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) * 1200
    first = torch.cat([corners, corners + 40], dim=1).to(dtype)
    boxes = torch.cat([first, first]).to(device)  # each twice, most in one class and some in two
    labels = (torch.arange(200) % 80).to(device)
    labels[100:180] = labels[:80]
    scores = torch.linspace(1, 0.1, 200, device=device).to(dtype)
    expected = []
    for k in labels.unique():
        own = (labels == k).nonzero().squeeze(1)
        expected.append(own[nms(boxes[own].float(), scores[own].float(), 0.5)])
    expected = sorted(torch.cat(expected).tolist())
    with torch.autocast(device, dtype=dtype):
        kept = batched_nms(boxes, scores, labels, 0.5)
    assert sorted(kept.tolist()) == expected


def test_4_mask_targets_are_aligned_and_thresholded():
    """Equal to RoIAlign for all boxes: tests/structures/test_mask_targets.py."""
    objects = targets([[10, 10, 38, 38]])
    found = mask_targets(objects.masks, torch.tensor([0]), objects.boxes, 28)
    dense = objects.masks.to_dense()[:, None].double()
    reference = roi_align(dense, [objects.boxes.double()], 28, sampling_ratio=0, aligned=True)[:, 0] >= 0.5
    assert found.dtype == torch.bool and found.all() and torch.equal(found, reference)


def test_5_thin_objects_survive_a_resize():
    """For any size: tests/structures/test_mask_resize.py."""
    dense = torch.zeros(1, 64, 64, dtype=torch.bool)
    dense[0, 21:31, 33] = True
    masks = InstanceMasks.from_dense(dense)
    sample = Sample(
        torch.zeros(3, 64, 64, dtype=torch.uint8), Targets(masks.boxes(), torch.tensor([0]), masks), 0, "", (64, 64)
    )
    small = Resize(size=16)(sample, torch.Generator())
    assert small.targets.masks.areas().item() > 0 and small.rescued == 1


def test_6_boxes_contain_their_last_pixel():
    dense = torch.zeros(1, 20, 20, dtype=torch.bool)
    dense[0, 4, 3:9] = True
    assert InstanceMasks.from_dense(dense).boxes().tolist() == [[3, 4, 9, 5]]


def test_7_images_without_objects(ours):
    """An empty list of boxes becomes ``torch.tensor([])``."""
    nothing = Targets(torch.tensor([]), torch.tensor([]), InstanceMasks.empty((64, 64)))
    losses = ours.losses([image(), image()], [nothing, targets([[5, 5, 30, 40]])])
    torch.stack(list(losses.values())).sum().backward()
    assert nothing.boxes.shape == (0, 4) and all(torch.isfinite(loss) for loss in losses.values())


def test_8_masks_of_detections_take_memory_by_the_size_of_their_boxes():
    """A thousand on 4096 x 4096: tests/structures/test_memory.py."""
    count, size = 20, (700, 700)
    corners = torch.arange(count).float()[:, None] * torch.tensor([30.0, 30.0])
    boxes = torch.cat([corners, corners + 25], dim=1)
    probs = torch.ones(count, 28, 28)
    found = Detections(boxes, torch.ones(count), torch.zeros(count, dtype=torch.int64), probs, size)
    with LargestTensor() as mode:
        assert len(found.to_rle()) == count
    assert mode.largest < 2**20


def test_9_matching_in_chunks_and_no_dense_masks_in_training(ours):
    boxes = torch.rand(5000, 4) * 50
    boxes[:, 2:] += boxes[:, :2]
    with LargestTensor() as mode:
        match_boxes(
            boxes,
            boxes[:200],
            fg_iou_threshold=0.7,
            bg_iou_threshold=0.3,
            allow_low_quality_matches=True,
            max_pairs=50_000,
        )
    assert mode.largest <= 50_000 * 2 * 4
    count, side = 400, 240
    label_map = torch.arange(1, 401).reshape(20, 20).repeat_interleave(12, 0).repeat_interleave(12, 1)
    masks = InstanceMasks.from_label_map(label_map)
    many = Targets(masks.boxes(), torch.zeros(count, dtype=torch.int64), masks)
    with LargestTensor() as mode, torch.no_grad():
        ours.losses([torch.zeros(3, side, side)], [many])
    assert mode.largest < count * side * side * 4  # of one dense set of masks in fp32


def test_10_the_model_never_resizes_and_transforms_antialias(ours):
    seen = []
    ours.backbone.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    ours.eval().predict([torch.zeros(3, 128, 96)])
    assert seen == [(1, 3, 128, 96)]
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::4] = 200
    sample = Sample(stripes, Targets.empty((64, 64)), 0, "", (64, 64))
    assert (Resize(size=16)(sample, torch.Generator()).image[:, 4:-4, 4:-4].float() - 50).abs().max() < 10


def test_11_limits_are_in_the_configuration():
    cfg = segkit.load_config("segkit://quickstart.yaml")
    assert {"score_threshold", "detections_per_image"} <= cfg.to_dict()["model"]["roi_heads"].keys()
    assert {"score_threshold", "detections_per_image"} <= inspect.signature(segkit.mask_rcnn).parameters.keys()


def test_12_losses_in_evaluation_mode(ours):
    """Their equality with those of training: tests/modeling/meta_arch/test_losses_by_mode.py."""
    assert ours.eval().losses([image()], [targets([[5, 5, 30, 40]])]).keys() >= {"rpn_cls", "box", "mask"}


def test_13_label_0_is_a_class(ours):
    features = {f"p{i}": FeatureSpec(8, 1 << i) for i in range(2, 6)}
    head = FastRCNNHead(features, 2)
    logits, deltas, boxes = torch.zeros(1, 3), torch.ones(1, 2, 4), torch.tensor([[0.0, 0, 9, 9]])
    losses = head.losses(logits, deltas, boxes, torch.tensor([0]), boxes)
    assert losses["box"] == 4.0  # L1 of four deltas of 1, whose targets are 0
    with pytest.raises(SegkitError, match="0-based"):
        ours.losses([image()], [targets([[5, 5, 30, 40]], labels=[2])])
    with torch.no_grad():
        ours.roi_heads.box_head.classifier.bias[0] = 9.0
    assert (ours.eval().predict([image()])[0].labels == 0).all()


def test_14_nan_raises_an_error(ours):
    """The layer's name: tests/modeling/test_nonfinite.py; in training: tests/engine/test_nonfinite.py."""
    with torch.no_grad():
        ours.backbone.stage2[0].conv1.weight[0] = float("nan")
    with pytest.raises(SegkitError, match=r"backbone\.stage2\.0\.conv1"):
        ours.eval().predict([image()])


@pytest.mark.parametrize(
    "bad", [[20, 20, 20, 30], [30, 30, 25, 40], [5, float("nan"), 10, 20], [0, 0, float("inf"), 9]]
)
def test_15_a_degenerate_box_is_counted_and_dropped(ours, bad, caplog):
    good = targets([[5, 5, 30, 40], [40, 40, 60, 60]], labels=[0, 1])
    boxes, labels = torch.cat([torch.tensor([bad]).float(), good.boxes]), torch.tensor([1, 0, 1])
    masks = InstanceMasks.cat([InstanceMasks.from_dense(torch.zeros(1, 64, 64)), good.masks])
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    alone = ours.eval().losses([image()], [good], generators[0])
    with caplog.at_level(logging.WARNING):
        losses = ours.losses([image()], [Targets(boxes, labels, masks)], generators[1])
    assert all(torch.equal(losses[name], alone[name]) for name in alone)
    assert "targets[0]: 1 of 3 objects" in caplog.text
