"""Mask targets against RoIAlign of the dense masks."""

import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from segkit.structures import InstanceMasks, batch_mask_targets, mask_targets
from segkit.structures.separable import indexed_windows

quick = settings(
    deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(masks, indices, boxes, resolution):
    dense = masks.to_dense()
    # Boxes that are inside out have no samples; torchvision's kernel would ask for a negative amount of memory.
    upright = torch.cat([boxes[:, :2], boxes[:, 2:].maximum(boxes[:, :2])], 1)
    rois = torch.cat([indices[:, None].float(), upright], 1)
    values = roi_align(dense[:, None].float(), rois, resolution, 1.0, 0, aligned=True)[:, 0]
    result = mask_targets(masks, indices, boxes, resolution)
    assert result.dtype == torch.bool and result.shape == (len(boxes), resolution, resolution)
    tie = (values - 0.5).abs() < 1e-4
    assert torch.equal(result | tie, (values >= 0.5) | tie)


@quick
@given(
    count=st.integers(1, 6),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    resolution=st.sampled_from([1, 7, 14, 28]),
    seed=st.integers(0, 10**6),
)
def test_equal_to_roi_align(draw_objects, count, size, resolution, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = InstanceMasks.from_dense(draw_objects(count, *size, seed))
    indices = torch.randint(0, count, (20,), generator=generator)
    boxes = masks.boxes()[indices] + torch.randn(20, 4, generator=generator) * 4
    boxes[10:] = torch.rand(10, 4, generator=generator) * 80 - 15  # anywhere, also inside out
    check(masks, indices, boxes, resolution)


@quick
@given(
    corner=st.tuples(st.integers(0, 39), st.integers(0, 29)),
    sides=st.sampled_from([(1, 1), (1, 30), (40, 1), (2, 30), (40, 2), (1, 7), (9, 1), (40, 30)]),
    shift=st.tuples(*[st.floats(-6, 6, width=32)] * 4),
    resolution=st.sampled_from([1, 14, 28]),
)
def test_thin_objects_at_borders_in_boxes_partly_outside(corner, sides, shift, resolution):
    dense = torch.zeros(1, 30, 40, dtype=torch.bool)
    dense[0, corner[1] : corner[1] + sides[1], corner[0] : corner[0] + sides[0]] = True
    masks = InstanceMasks.from_dense(dense)
    boxes = torch.cat([masks.boxes(), masks.boxes() + torch.tensor(shift)])
    check(masks, torch.zeros(2, dtype=torch.long), boxes, resolution)


def test_whole_pixels_and_halves(draw_cells):
    masks = draw_cells(30, (1, 60), (90, 80))
    indices = torch.arange(30)
    for shift in (0, 0.5, -1):
        check(masks, indices, masks.boxes() + shift, 14)


def test_large_boxes_take_many_samples(draw_cells):
    masks = draw_cells(6, (1, 500), (600, 700))
    boxes = torch.tensor([[-50.0, -40, 730, 640]]).repeat(6, 1)
    check(masks, torch.arange(6), boxes, 28)
    check(masks, torch.arange(6), boxes, 14)


def test_a_mask_that_fills_its_box_is_all_ones():
    dense = torch.zeros(2, 64, 64, dtype=torch.bool)
    dense[0, 10:50, 20:60] = True
    dense[1] = True
    masks = InstanceMasks.from_dense(dense)
    assert bool(mask_targets(masks, torch.arange(2), masks.boxes(), 28).all())


def test_full_image_and_boxes_beyond_it():
    masks = InstanceMasks.from_dense(torch.ones(1, 20, 30, dtype=torch.bool))
    boxes = torch.tensor([[0.0, 0, 30, 20], [-9, -8, 40, 33], [29, 19, 30.5, 20.5], [-5, -5, 0.2, 0.2], [31, 0, 40, 9]])
    check(masks, torch.zeros(5, dtype=torch.long), boxes, 14)


def test_images_of_a_batch_are_as_each_alone(draw_cells):
    images = [draw_cells(9, (1, 60), (90, 200)), InstanceMasks.empty((30, 40)), draw_cells(20, (5, 300), (400, 330))]
    indices = [torch.arange(18) % 9, torch.zeros(0, dtype=torch.long), torch.arange(25) % 20]
    boxes = [masks.boxes()[i] + torch.randn(len(i), 4) * 3 for masks, i in zip(images, indices, strict=True)]
    boxes[0][5], boxes[2][7] = torch.tensor([3.0, 3, 3, 3]), torch.tensor([-20.0, -9, 900, 1000])  # no area; too large
    together = batch_mask_targets(images, indices, boxes, 14)
    alone = [mask_targets(*image, 14) for image in zip(images, indices, boxes, strict=True)]
    assert torch.equal(together, torch.cat(alone)) and together.any((1, 2)).sum() > 30


def test_the_budget_and_pixels_beyond_a_window_change_nothing(draw_cells, monkeypatch):
    """On a GPU the pixels beyond a smaller window are the next object's."""
    masks = draw_cells(30, (1, 200), (300, 330))
    indices = torch.arange(60) % 30
    boxes = masks.boxes()[indices] + torch.randn(60, 4) * 9
    expected = mask_targets(masks, indices, boxes, 14)
    module = sys.modules[batch_mask_targets.__module__]
    monkeypatch.setattr(
        module,
        "gather_windows",
        lambda bits, starts, strides, tall, wide: indexed_windows(
            bits, starts, strides, int(tall.max()), int(wide.max())
        ),
    )
    assert torch.equal(mask_targets(masks, indices, boxes, 14), expected)
    monkeypatch.setattr(module, "BUDGET", 1)
    assert torch.equal(mask_targets(masks, indices, boxes, 14), expected)


def test_nothing():
    masks = InstanceMasks.from_dense(torch.zeros(2, 9, 9, dtype=torch.bool))
    none = torch.zeros(0, dtype=torch.long)
    assert mask_targets(masks, none, torch.zeros(0, 4), 14).shape == (0, 14, 14)
    assert mask_targets(InstanceMasks.empty((9, 9)), none, torch.zeros(0, 4), 14).shape == (0, 14, 14)
    assert not mask_targets(masks, torch.tensor([0, 1]), torch.tensor([[0.0, 0, 9, 9], [2, 2, 2, 2]]), 14).any()
    full = InstanceMasks.from_dense(torch.ones(1, 9, 9, dtype=torch.bool))
    assert not mask_targets(full, torch.tensor([0]), torch.tensor([[5.0, 5, 3, 3]]), 14).any()


def test_autocast_and_low_precision_boxes_change_nothing(draw_cells):
    masks = draw_cells(20, (16, 60), (300, 300))
    expected = mask_targets(masks, torch.arange(20), masks.boxes(), 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mask_targets(masks, torch.arange(20), masks.boxes(), 28), expected)


@pytest.mark.gpu
def test_same_on_cuda(draw_cells):
    masks = draw_cells(60, (1, 300), (600, 700))
    indices = torch.arange(120) % 60
    boxes = masks.boxes()[indices] + torch.randn(120, 4) * 5
    here = mask_targets(masks, indices, boxes, 28)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.autocast("cuda", dtype=torch.float16):
            there = mask_targets(masks.to("cuda"), indices.cuda(), boxes.cuda(), 28)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert there.device.type == "cuda"
    assert (here != there.cpu()).float().mean() < 1e-4


def test_a_bin_that_is_just_half_covered_is_set():
    """Exactly: samples in the pixels' centres, four of which make a bin."""
    dense = torch.zeros(1, 4, 4, dtype=torch.bool)
    dense[0, :, 0] = dense[0, 3, 2] = True
    found = mask_targets(InstanceMasks.from_dense(dense), torch.tensor([0]), torch.tensor([[0.0, 0, 4, 4]]), 2)
    assert found.tolist() == [[[True, False], [True, False]]]
