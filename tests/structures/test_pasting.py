"""Pasting against grid_sample over the whole image, as Detectron2 does it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api
from torch.nn import functional as F

from segkit.structures import Detections, InstanceMasks, paste_masks, paste_rle, pasting
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
    assert masks.image_size == size
    assert torch.equal(masks.crop_boxes, InstanceMasks.from_dense(result).crop_boxes)
    values = reference(probs, boxes, size)
    tie = (values - threshold).abs() < 1e-4
    assert torch.equal(result | tie, (values >= threshold) | tie)
    rles = paste_rle(probs, boxes, size, threshold)
    assert rles == masks.to_rle()
    for rle, mask in zip(rles, result.numpy(), strict=True):
        assert rle["counts"] == mask_api.encode(np.asfortranarray(mask.view(np.uint8)))["counts"].decode()
    return masks


@settings(deadline=None, max_examples=40, derandomize=True)
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
    assert masks.crop_boxes.tolist() == [[3, 4, 17, 9], [0, 0, 40, 30], [0, 0, 40, 30], [39, 29, 40, 30]]


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
    assert outside.crop_boxes.tolist() == [[0] * 4] * 2
    assert paste_masks(torch.zeros(3, 14, 14), torch.tensor([[1.0, 1, 9, 9]]).repeat(3, 1), (20, 20)).bits.numel() == 0


def test_a_thousand_objects():
    low = torch.rand(1000, 2) * torch.tensor([70.0, 40.0]) - 5
    check(torch.rand(1000, 28, 28), torch.cat([low, low + torch.rand(1000, 2) * 30], 1), (40, 70))


def test_values_that_are_all_the_threshold_reach_it():
    """No rounding: interpolated between equal values, each pixel whose centre is half a cell inside has that value."""
    boxes = torch.tensor([[1.3, 2.7, 40.1, 33.9], [0, 0, 50, 40]])
    masks = paste_masks(torch.full((2, 28, 28), 0.7), boxes, (40, 50), float(torch.tensor(0.7)))
    assert masks.crop_boxes.tolist() == [[2, 3, 39, 33], [1, 1, 49, 39]]
    assert bool(masks.bits.all())


@pytest.mark.parametrize("budget", [1, 60, 2000])
def test_chunks_and_strips_change_nothing(monkeypatch, budget):
    low = torch.rand(15, 2) * 50
    probs, boxes = torch.rand(15, 14, 14), torch.cat([low, low + torch.rand(15, 2) * 30], 1)
    boxes[::7] = torch.tensor([-3.0, -4, 70, 65])
    whole, rles = paste_masks(probs, boxes, (50, 60)), paste_rle(probs, boxes, (50, 60))
    monkeypatch.setattr(pasting, "BUDGET", budget)
    monkeypatch.setattr(pasting, "FILL_BUDGET", 10 * budget)
    parts = paste_masks(probs, boxes, (50, 60))
    assert torch.equal(whole.crop_boxes, parts.crop_boxes)
    assert torch.equal(whole.bits, parts.bits)
    assert rles == paste_rle(probs, boxes, (50, 60))


def test_detections_encode_without_masks_or_from_those_they_have():
    found = Detections(
        torch.tensor([[1.0, 2, 9, 8]]), torch.ones(1), torch.zeros(1).long(), torch.rand(1, 9, 9), (9, 9)
    )
    rles = found.to_rle()
    assert found._masks is None
    assert found.masks is not None and found.masks.to_rle() == rles == found.to_rle()


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
    boxes[0] = torch.tensor([-10.0, -10, 800, 800])
    here = paste_masks(probs, boxes, (600, 500))
    there = paste_masks(probs.cuda(), boxes.cuda(), (600, 500))
    assert there.device.type == "cuda"
    assert paste_rle(probs.cuda(), boxes.cuda(), (600, 500)) == there.to_rle()
    assert (here.to_dense() != there.to_dense().cpu()).sum() < 20


@pytest.mark.gpu
def test_waits_of_pasting_do_not_grow_with_the_objects(monkeypatch):
    waits = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: (waits.append(self.is_cuda), original(self))[1])
    counts = []
    for number in (20, 500):
        low = torch.rand(number, 2) * 500
        waits.clear()
        paste_rle(torch.rand(number, 28, 28).cuda(), torch.cat([low, low + 40], 1).cuda(), (600, 600))
        counts.append(sum(waits))
    assert counts[1] <= counts[0] + 2
