"""Pasting against grid_sample over the whole image, as Detectron2 does it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segkit.structures import InstanceMasks, paste_masks
from segkit.utils.errors import SegkitError


def reference(probs, boxes, size):
    """Probabilities [N, H, W] on the whole image."""
    x0, y0, x1, y1 = boxes.split(1, 1)
    y = (torch.arange(size[0]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(size[1]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack([x[:, None].expand(-1, size[0], -1), y[:, :, None].expand(-1, -1, size[1])], 3)
    return F.grid_sample(probs[:, None], grid, align_corners=False)[:, 0]


def check(probs, boxes, size, threshold=0.5):
    masks = paste_masks(probs, boxes, size, threshold)
    result = masks.to_dense()
    assert masks.canvas == size
    assert torch.equal(masks.extents, InstanceMasks.from_dense(result).extents)
    values = reference(probs, boxes, size)
    tie = (values - threshold).abs() < 1e-4
    assert torch.equal(result | tie, (values >= threshold) | tie)
    return masks


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(0, 12),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    resolution=st.sampled_from([1, 2, 14, 28]),
    threshold=st.sampled_from([0.1, 0.5, 0.9]),
    seed=st.integers(0, 10**6),
)
def test_equal_to_grid_sample(count, size, resolution, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 80 - 20
    boxes = torch.cat([low, low + torch.rand(count, 2, generator=generator) * 50 + 0.01], 1)
    check(torch.rand(count, resolution, resolution, generator=generator), boxes, size, threshold)


def test_box_filling_masks():
    boxes = torch.tensor([[3.0, 4, 17, 9], [0, 0, 40, 30], [-5, -6, 60, 44], [39, 29, 40, 30]])
    masks = check(torch.ones(4, 28, 28), boxes, (30, 40))
    assert masks.extents.tolist() == [[3, 4, 17, 9], [0, 0, 40, 30], [0, 0, 40, 30], [39, 29, 40, 30]]


def test_sizes_from_tiny_to_the_whole_image():
    side = torch.tensor([0.3, 1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513])
    boxes = torch.stack([side * 0.1, side * 0.2, side * 1.1, side * 1.7], 1)
    order = torch.randperm(12)
    check(torch.rand(12, 28, 28), boxes[order], (520, 600))


def test_boxes_that_are_none():
    boxes = torch.tensor([[3.0, 3, 3, 9], [9, 9, 2, 2], [float("nan"), 0, 3, 3], [0, 0, float("inf"), 3], [2, 2, 5, 6]])
    masks = paste_masks(torch.ones(5, 14, 14), boxes, (20, 20))
    assert masks.areas().tolist() == [0, 0, 0, 0, 12]
    assert len(paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (20, 20))) == 0
    outside = paste_masks(torch.ones(2, 14, 14), torch.tensor([[50.0, 50, 60, 60], [-9, -9, -3, -3]]), (20, 20))
    assert outside.extents.tolist() == [[0] * 4] * 2
    assert paste_masks(torch.zeros(3, 14, 14), torch.tensor([[1.0, 1, 9, 9]]).repeat(3, 1), (20, 20)).bits.numel() == 0


def test_chunks_change_nothing(monkeypatch):
    low = torch.rand(50, 2) * 200
    probs, boxes = torch.rand(50, 28, 28), torch.cat([low, low + torch.rand(50, 2) * 90], 1)
    whole = paste_masks(probs, boxes, (250, 260))
    monkeypatch.setattr("segkit.structures.pasting.BUDGET", 500)
    parts = paste_masks(probs, boxes, (250, 260))
    assert torch.equal(whole.extents, parts.extents)
    assert torch.equal(whole.bits, parts.bits)


def test_wrong_threshold():
    with pytest.raises(SegkitError, match="threshold 0"):
        paste_masks(torch.ones(1, 2, 2), torch.tensor([[0.0, 0, 1, 1]]), (3, 3), 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_half_probabilities(dtype):
    probs = torch.rand(20, 28, 28).to(dtype)
    low = torch.rand(20, 2) * 100
    boxes = torch.cat([low, low + 40], 1)
    expected = paste_masks(probs.float(), boxes, (150, 150))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(paste_masks(probs, boxes, (150, 150)).bits, expected.bits)


@pytest.mark.gpu
def test_same_on_cuda():
    low = torch.rand(100, 2) * 500
    probs, boxes = torch.rand(100, 28, 28), torch.cat([low, low + torch.rand(100, 2) * 200 + 1], 1)
    here = paste_masks(probs, boxes, (600, 500))
    there = paste_masks(probs.cuda(), boxes.cuda(), (600, 500))
    assert there.device.type == "cuda"
    assert (here.to_dense() != there.to_dense().cpu()).sum() < 20
