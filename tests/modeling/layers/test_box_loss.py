"""Box losses against written-out formulas."""

import pytest
import torch

from segkit.modeling.layers.box_loss import box_loss_sum, check_box_loss, smooth_l1_sum
from segkit.modeling.layers.box_regression import get_deltas
from segkit.modeling.layers.scale_gradient import scale_gradient
from segkit.utils.errors import SegkitError

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def boxes(count=30, seed=0):
    corners = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed)) * 60
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:] + 1], dim=1)


def giou(a, b):
    """Generalized IoU of two boxes in plain numbers (Rezatofighi et al. 2019, algorithm 1)."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union - (hull - union) / hull


def test_giou_is_the_written_out_formula():
    src_boxes, predicted = boxes(), boxes(seed=1)
    gt_boxes = torch.cat([boxes(seed=2)[:20], predicted[20:25], predicted[25:] + 1000])  # apart, equal, far
    expected = sum(1 - giou(a, b) for a, b in zip(predicted.double().tolist(), gt_boxes.double().tolist(), strict=True))
    pred_deltas = get_deltas(src_boxes, predicted, WEIGHTS).requires_grad_()
    loss = box_loss_sum(pred_deltas, src_boxes, gt_boxes, WEIGHTS, kind="giou", beta=0.0)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert torch.isfinite(pred_deltas.grad).all() and pred_deltas.grad.abs().sum(dim=1).gt(0).sum() >= 25
    same = box_loss_sum(pred_deltas, src_boxes, predicted, WEIGHTS, kind="giou", beta=0.0)
    assert same.abs() < 1e-3


def test_smooth_l1_compares_deltas():
    src_boxes, gt_boxes, pred_deltas = boxes(), boxes(seed=1), torch.randn(30, 4)
    loss = box_loss_sum(pred_deltas, src_boxes, gt_boxes, WEIGHTS, kind="smooth_l1", beta=0.5)
    assert torch.equal(loss, smooth_l1_sum(pred_deltas, get_deltas(src_boxes, gt_boxes, WEIGHTS), 0.5))


@pytest.mark.parametrize("kind", ["smooth_l1", "giou"])
def test_in_fp32_and_zero_without_boxes(kind):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        level = box_loss_sum(torch.ones(30, 4).bfloat16(), boxes(), boxes(seed=1) + 1000, WEIGHTS, kind=kind, beta=0.0)
    assert level.dtype == torch.float32
    assert level == box_loss_sum(torch.ones(30, 4), boxes(), boxes(seed=1) + 1000, WEIGHTS, kind=kind, beta=0.0)
    pred_deltas = torch.zeros(0, 4, requires_grad=True)
    none = box_loss_sum(pred_deltas, torch.zeros(0, 4), torch.zeros(0, 4), WEIGHTS, kind=kind, beta=0.0)
    none.backward()
    assert none == 0 and pred_deltas.grad is not None


def test_an_unknown_loss_raises_with_the_nearest_name():
    with pytest.raises(SegkitError, match="no box_loss 'giuo'; did you mean 'giou'"):
        check_box_loss("giuo")


def test_scaled_gradient():
    values = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    scaled = scale_gradient(values, 0.25)
    assert torch.equal(scaled, values) and scaled.is_contiguous(memory_format=torch.channels_last)
    (scaled * 3).sum().backward()
    assert (values.grad == 0.75).all()
