"""Resizing against F.interpolate of the dense masks."""

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segkit.structures import InstanceMasks

quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def check(masks, size, antialias):
    dense = masks.to_dense()
    values = dense[:, None].float()
    # One direction after the other: to a width of 1, torch's antialiased resizing of both repeats a row.
    for length in reversed(size):
        wide = (values.shape[2], length)
        values = F.interpolate(values, wide, mode="bilinear", align_corners=False, antialias=antialias).mT.contiguous()
    values = values[:, 0]
    resized, rescued = masks.resize_counted(size, antialias)
    result = resized.to_dense()
    assert resized.image_size == size
    assert torch.equal(resized.crop_boxes, InstanceMasks.from_dense(result).crop_boxes)
    lost = 0
    for before, image, after in zip(dense, values, result, strict=True):
        best = float(image.max())
        tie = (image - 0.5).abs() < 1e-4
        if before.any() and best < 0.5 - 1e-4:
            lost += 1
            assert after.sum() == 1  # the largest pixel, or where all are 0 the one at the object's centre
            assert image[after] >= best - 1e-4
        elif before.any() and best < 0.5 + 1e-4:
            assert after.any()
        else:
            assert torch.equal(after | tie, (image >= 0.5) | tie)
    assert rescued >= lost
    return rescued


@quick
@example(count=1, size=(4, 1), new=(5, 1), antialias=True, seed=0)
@example(count=2, size=(2, 2), new=(3, 1), antialias=True, seed=4)
@given(count=st.integers(0, 6), size=sizes, new=sizes, antialias=st.booleans(), seed=st.integers(0, 10**6))
def test_equal_to_interpolate(draw_objects, count, size, new, antialias, seed):
    check(InstanceMasks.from_dense(draw_objects(count, *size, seed)), new, antialias)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("new", [(150, 100), (233, 401), (640, 700), (37, 300), (300, 400)])
def test_objects_larger_than_a_tile(draw_cells, new, antialias):
    check(draw_cells(12, (1, 290), (300, 400)), new, antialias)


@pytest.mark.parametrize("antialias", [True, False])
def test_full_image_stays_full(antialias):
    masks = InstanceMasks.from_dense(torch.ones(1, 200, 170, dtype=torch.bool))
    for size in ((99, 101), (201, 340), (1, 1)):
        assert bool(masks.resize(size, antialias).to_dense().all())


@pytest.mark.parametrize("antialias", [True, False])
def test_never_empty(antialias):
    dense = torch.eye(256, dtype=torch.bool).view(256, 16, 16)
    resized, rescued = InstanceMasks.from_dense(dense).resize_counted((4, 4), antialias)
    assert rescued == 256
    y, x = resized.to_dense().nonzero()[:, 1:].unbind(1)
    # The pixel whose area holds the object (its neighbour may have as large a share).
    assert ((y * 4 + 1.5 - torch.arange(256) // 16).abs() <= 2.5).all()
    assert ((x * 4 + 1.5 - torch.arange(256) % 16).abs() <= 2.5).all()


def test_thin_line_survives():
    dense = torch.zeros(1, 100, 100, dtype=torch.bool)
    dense[0, 50, 20:30] = True
    resized = InstanceMasks.from_dense(dense).resize((25, 25))
    assert resized.areas().tolist() == [1]
    x0, y0 = resized.crop_boxes[0, :2].tolist()
    assert y0 == 12 and 5 <= x0 <= 7


def test_empty_masks_stay_empty_and_no_objects():
    masks = InstanceMasks.from_dense(torch.zeros(3, 9, 9, dtype=torch.bool))
    assert masks.resize((4, 5)).areas().tolist() == [0, 0, 0]
    assert len(InstanceMasks.empty((9, 9)).resize((4, 5))) == 0


def test_autocast_changes_nothing(draw_cells):
    masks = draw_cells(20, (3, 60), (200, 200))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = masks.resize((131, 157))
    assert torch.equal(inside.to_dense(), masks.resize((131, 157)).to_dense())
