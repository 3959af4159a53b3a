"""FLOPs and activations against counts by hand."""

import torch
from torch import nn

import segkit
from segkit.benchmark.flops import cost_of, part_costs, spread_boxes
from segkit.modeling.backbones import TinyNet
from segkit.modeling.layers.roi_align import assign_levels

SIZE = (64, 96)
C, K, FC, M = 16, 3, 24, 8  # pyramid, classes, box head, mask head


def make_model(classes=K):
    return segkit.mask_rcnn(
        TinyNet(), classes, fpn_channels=C, fc_dims=(FC, FC), mask_conv_dims=(M,), detections_per_image=7
    )


def cells(*strides):
    return [-(-SIZE[0] // stride) * -(-SIZE[1] // stride) for stride in strides]


def test_every_part_by_hand():
    model = make_model()
    found = {cost.name: cost for cost in part_costs(model, SIZE)}
    widths = [spec.channels for spec in model.backbone.out_features.values()]
    pyramid = cells(4, 8, 16, 32)
    convolved = sum(n * (width * C + 9 * C * C) for n, width in zip(pyramid, widths, strict=True))
    upsampled = sum(n * C for n in pyramid[:-1])  # one for each number given
    assert found["neck"].flops == convolved + upsampled
    assert found["neck"].activations == sum(n * 2 * C for n in pyramid)
    a = model.proposal_generator.anchor_generator.num_anchors
    levels = sum(cells(4, 8, 16, 32, 64))
    assert found["proposal_generator.head"].flops == levels * (9 * C * C + 5 * a * C)
    assert found["proposal_generator.head"].activations == levels * (C + 5 * a)
    boxes = model.proposal_generator.post_nms_top_k[1]
    assert found["roi_heads.box_head"].flops == boxes * (49 * C * FC + FC * FC + FC * (K + 1) + FC * 4 * K)
    assert found["roi_heads.mask_head"].flops == 7 * (14 * 14 * (9 * C * M + 4 * M * M) + 28 * 28 * M * K)
    assert found["roi_heads.mask_head"].work == "1 x 7 boxes"
    assert "embedding_bag" in found["roi_heads.mask_head"].uncounted and "mul" not in found["neck"].uncounted


def test_of_many_classes_each_mask_costs_its_own():
    (cost,) = [cost for cost in part_costs(make_model(classes=80), SIZE) if cost.name == "roi_heads.mask_head"]
    assert cost.flops == 7 * (14 * 14 * (9 * C * M + 4 * M * M) + 28 * 28 * M)
    assert set(cost.uncounted) <= {"embedding_bag"}


def test_backbone_by_hooks():
    model = make_model().eval()
    expected = 0

    def count(layer, args, output):
        nonlocal expected
        if isinstance(layer, nn.Conv2d):
            expected += output.numel() * layer.weight[0].numel()
        else:
            expected += 2 * output.numel()  # a factor and a summand

    for layer in model.backbone.modules():
        if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model.backbone(torch.zeros(1, 3, *SIZE))
    model = make_model()
    assert part_costs(model, SIZE)[0].flops == expected
    assert model.training


def test_costs_grow_with_the_batch():
    model = make_model()
    for one, three in zip(part_costs(model, SIZE), part_costs(model, SIZE, batch=3), strict=True):
        assert three.flops == 3 * one.flops and three.activations == 3 * one.activations


def test_operations_that_fvcore_does_not_know_are_named_without_warnings(recwarn, caplog):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.cumsum(x * 2, 0)

    cost = cost_of("odd", "a tensor", Odd(), (torch.zeros(3),))
    assert dict(cost.uncounted) == {"cumsum": 1} and cost.flops == 0
    assert not caplog.records and not [w for w in recwarn if "jit" not in str(w.message)]


def test_counted_boxes_reach_every_level():
    levels = assign_levels(spread_boxes(1000, (800, 1216)), [4, 8, 16, 32], 224.0, 16)
    assert levels.unique().tolist() == [0, 1, 2, 3]
