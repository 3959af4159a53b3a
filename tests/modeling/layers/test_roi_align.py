"""RoIAlign against torchvision's, level by level."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign, roi_align

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.roi_align import assign_levels, multilevel_roi_align
from segkit.modeling.layers.roi_pooler import ROIPooler
from segkit.utils.errors import SegkitError

STRIDES = (4, 8, 16)


def make_features(batch=2, channels=6, size=64):
    return [torch.randn(batch, channels, size // s * 2, size // s * 3, requires_grad=True) for s in STRIDES]


def make_boxes():
    """Ordinary boxes, and those that kernels get wrong: outside the map, without area, at the border, the full image."""
    corners = torch.rand(40, 2) * torch.tensor([180.0, 120.0])
    boxes = torch.cat([corners, corners + torch.rand(40, 2) * 90], dim=1)
    odd = torch.tensor(
        [
            [0, 0, 192, 128],
            [-30, -20, 10, 12],
            [180, 120, 230, 150],
            [5, 5, 5, 5],
            [5.2, 7.9, 5.3, 8.0],
            [-50, -50, -10, -10],
            [191, 127, 192, 128],
            [0, 60, 192, 61],
            [100, 0, 101.5, 128],
            [-400, -300, 600, 500],
            [30, 40, 20, 10],
        ]
    )
    return torch.cat([boxes, odd])


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [1, 2, 3, 0])
def test_equals_torchvision_forward_and_backward(aligned, ratio):
    features = make_features()
    boxes = make_boxes()
    images = torch.arange(len(boxes)) % 2
    levels = torch.arange(len(boxes)) % 3
    pooled = multilevel_roi_align(features, STRIDES, boxes, images, levels, 7, ratio, aligned)
    expected = torch.zeros_like(pooled)
    for level, (feature, stride) in enumerate(zip(features, STRIDES, strict=True)):
        chosen = levels == level
        rois = torch.cat([images[chosen, None].float(), boxes[chosen]], dim=1)
        expected[chosen] = roi_align(feature, rois, 7, 1 / stride, ratio, aligned)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(pooled)
    ours = torch.autograd.grad((pooled * weight).sum(), features)
    theirs = torch.autograd.grad((expected * weight).sum(), features)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("ratio", [1, 2, 0])
def test_deterministic_on_a_gpu(ratio):
    """Forward and backward: the same as the CPU's but for rounding, and as another time to the bit."""
    features, boxes = make_features(), make_boxes()
    images, levels = torch.arange(len(boxes)) % 2, torch.arange(len(boxes)) % 3

    def pool(device):
        moved = [feature.detach().to(device).requires_grad_() for feature in features]
        place = [tensor.to(device) for tensor in (boxes, images, levels)]
        pooled = multilevel_roi_align(moved, STRIDES, *place, 7, ratio, True)
        return pooled, *torch.autograd.grad(pooled.square().sum(), moved)

    torch.use_deterministic_algorithms(True)
    try:
        first, again = pool("cuda"), pool("cuda")
    finally:
        torch.use_deterministic_algorithms(False)
    for ours, other, want in zip(first, again, pool("cpu"), strict=True):
        assert torch.equal(ours, other)
        torch.testing.assert_close(ours.cpu(), want, atol=1e-4, rtol=1e-4)


def test_levels_equal_torchvision():
    features = {f"p{i + 2}": torch.randn(1, 4, 256 >> (i + 2), 256 >> (i + 2)) for i in range(4)}
    side = torch.tensor([1.0, 20.0, 111.9, 112.0, 112.1, 223.9, 224.0, 225.0, 448.0, 900.0])
    boxes = torch.stack([torch.zeros_like(side), torch.zeros_like(side), side, side], dim=1)
    theirs = MultiScaleRoIAlign(list(features), 3, 2)
    theirs(features, [boxes], [(256, 256)])
    expected = theirs.map_levels([boxes])
    assert assign_levels(boxes, (4, 8, 16, 32), 224.0, 16).tolist() == expected.tolist()


@pytest.mark.parametrize("ratio", [2, 0])
def test_no_boxes(ratio):
    features = make_features()
    empty = torch.zeros(0, dtype=torch.int64)
    pooled = multilevel_roi_align(features, STRIDES, torch.zeros(0, 4), empty, empty, 7, ratio, True)
    assert pooled.shape == (0, 6, 7, 7)
    pooled.sum().backward()


@pytest.mark.parametrize("ratio", [2, 0])
def test_chunks_change_nothing(monkeypatch, ratio):
    features = make_features()
    boxes = make_boxes()
    images, levels = torch.arange(len(boxes)) % 2, torch.arange(len(boxes)) % 3
    whole = multilevel_roi_align(features, STRIDES, boxes, images, levels, 5, ratio, True)
    monkeypatch.setattr("segkit.modeling.layers.roi_gather.MAX_TAPS", 1000)
    assert torch.equal(whole, multilevel_roi_align(features, STRIDES, boxes, images, levels, 5, ratio, True))


def test_boxes_stay_fp32_beside_half_features():
    """In bf16 a box at 1,001 would be read at 1,000 or 1,004."""
    ramp = torch.arange(512.0).repeat(1, 1, 8, 1)
    boxes = torch.tensor([[1001.0, 4.0, 1003.0, 6.0]])
    zero = torch.zeros(1, dtype=torch.int64)
    exact = multilevel_roi_align([ramp], (4,), boxes, zero, zero, 1, 2, True)
    half = multilevel_roi_align([ramp.bfloat16()], (4,), boxes, zero, zero, 1, 2, True)
    assert half.dtype == torch.bfloat16
    assert abs(half.item() - exact.bfloat16().item()) <= 1.0  # the features' own rounding: one unit of bf16 at 250


def test_pooler_names_an_unknown_level():
    with pytest.raises(SegkitError, match="'p9'"):
        ROIPooler({"p2": FeatureSpec(8, 4)}, levels=["p9"], resolution=7)
    with pytest.raises(SegkitError, match="one number of channels"):
        ROIPooler({"p2": FeatureSpec(8, 4), "p3": FeatureSpec(9, 8)}, levels=["p2", "p3"], resolution=7)
