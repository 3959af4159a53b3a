"""Flips, turns and crops against the dense masks."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.structures import InstanceMasks

quick = settings(
    deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))


def check(masks, dense):
    assert torch.equal(masks.to_dense(), dense)
    assert masks.image_size == tuple(dense.shape[1:])
    # Tight, with zeros for the empty ones.
    assert torch.equal(masks.crop_boxes, InstanceMasks.from_dense(dense).crop_boxes)


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


@quick
@given(count=st.integers(0, 8), size=sizes, seed=st.integers(0, 10**6), data=st.data())
def test_placing(draw_objects, count, size, seed, data):
    dense = draw_objects(count, *size, seed)
    left, right, top, bottom = (data.draw(st.integers(0, 9)) for _ in range(4))
    padded = torch.nn.functional.pad(dense, (left, right, top, bottom))
    check(InstanceMasks.from_dense(dense).placed(tuple(padded.shape[1:]), left, top), padded)


@quick
@given(counts=st.tuples(st.integers(0, 8), st.integers(0, 8)), size=sizes, seed=st.integers(0, 10**6))
def test_occlusion_by_other_masks(draw_objects, counts, size, seed):
    below, above = (draw_objects(count, *size, seed + i) for i, count in enumerate(counts))
    region = InstanceMasks.from_dense(above).union()
    assert torch.equal(region, above.any(0))
    left, changed = InstanceMasks.from_dense(below).without(region)
    check(left, below & ~region)
    assert torch.equal(changed, (below & region).flatten(1).any(1))


def test_crop_of_two_parts_keeps_the_crop_box_tight():
    dense = torch.zeros(1, 9, 9, dtype=torch.bool)
    dense[0, 1, 1] = dense[0, 7, 7] = True
    masks = InstanceMasks.from_dense(dense)
    check(masks.crop(0, 0, 5, 9), dense[:, :, :5])
    check(masks.crop(2, 2, 6, 6), dense[:, 2:6, 2:6])


def test_objects_that_a_crop_removes_stay_as_empty_masks():
    masks = InstanceMasks.from_dense(torch.eye(4, dtype=torch.bool)[:, :, None].expand(4, 4, 3))
    assert masks.crop(0, 1, 3, 3).areas().tolist() == [0, 3, 3, 0]


def test_thousand_objects(draw_cells):
    masks = draw_cells(1000, (1, 20), (40, 35))
    dense = masks.to_dense()
    for k in (1, 2, 3):
        check(masks.rot90(k), torch.rot90(dense, k, (1, 2)))
    check(masks.hflip(), dense.flip(2))
    check(masks.vflip(), dense.flip(1))
    check(masks.crop(11, 5, 31, 33), dense[:, 5:33, 11:31])
    region = dense[:20].any(0)
    check(masks.without(region)[0], dense & ~region)
