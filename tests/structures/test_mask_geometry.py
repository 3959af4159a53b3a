"""Flips, turns and crops against the dense masks."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.structures import InstanceMasks

quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))


def check(masks, dense):
    assert torch.equal(masks.to_dense(), dense)
    assert masks.canvas == tuple(dense.shape[1:])
    # Tight, with zeros for the empty ones.
    assert torch.equal(masks.extents, InstanceMasks.from_dense(dense).extents)


@quick
@given(count=st.integers(0, 8), size=sizes, seed=st.integers(0, 10**6))
def test_flips_and_turns(draw_objects, count, size, seed):
    dense = draw_objects(count, *size, seed)
    masks = InstanceMasks.from_dense(dense)
    check(masks.hflip(), dense.flip(2))
    check(masks.vflip(), dense.flip(1))
    for k in range(-1, 5):
        check(masks.rot90(k), torch.rot90(dense, k, (1, 2)))
    check(masks, dense)


@quick
@given(count=st.integers(0, 8), size=sizes, seed=st.integers(0, 10**6), data=st.data())
def test_crop(draw_objects, count, size, seed, data):
    dense = draw_objects(count, *size, seed)
    y0, x0 = (data.draw(st.integers(0, side - 1)) for side in size)
    y1, x1 = (data.draw(st.integers(low + 1, side)) for low, side in zip((y0, x0), size, strict=True))
    check(InstanceMasks.from_dense(dense).crop(x0, y0, x1, y1), dense[:, y0:y1, x0:x1])


def test_crop_of_two_parts_keeps_the_extents_tight():
    dense = torch.zeros(1, 9, 9, dtype=torch.bool)
    dense[0, 1, 1] = dense[0, 7, 7] = True
    masks = InstanceMasks.from_dense(dense)
    check(masks.crop(0, 0, 5, 9), dense[:, :, :5])
    check(masks.crop(2, 2, 6, 6), dense[:, 2:6, 2:6])


def test_objects_that_a_crop_removes_stay_as_empty_masks():
    masks = InstanceMasks.from_dense(torch.eye(4, dtype=torch.bool)[:, :, None].expand(4, 4, 3))
    assert masks.crop(0, 1, 3, 3).areas().tolist() == [0, 3, 3, 0]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_many_objects(draw_cells, k):
    masks = draw_cells(200, (1, 30), (150, 130))
    check(masks.rot90(k), torch.rot90(masks.to_dense(), k, (1, 2)))
