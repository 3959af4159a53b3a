"""InstanceMasks against dense masks: making, reading, choosing."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


@quick
@given(count=st.integers(0, 8), size=sizes, seed=st.integers(0, 10**6))
def test_dense_there_and_back(draw_objects, count, size, seed):
    dense = draw_objects(count, *size, seed)
    masks = InstanceMasks.from_dense(dense)
    assert torch.equal(masks.to_dense(), dense)
    assert masks.image_size == size and len(masks) == count
    assert torch.equal(masks.areas(), dense.sum((1, 2)))
    for image, (x0, y0, x1, y1) in zip(dense, masks.boxes().tolist(), strict=True):
        y, x = image.nonzero().unbind(1)
        expected = [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0]
        assert [x0, y0, x1, y1] == [float(v) for v in expected]


def test_only_the_boxes_are_stored():
    dense = torch.zeros(2, 1000, 1000, dtype=torch.bool)
    dense[0, 10:14, 20:25] = True
    dense[1, 999, 999] = True
    masks = InstanceMasks.from_dense(dense)
    assert masks.bits.numel() == 21
    assert masks.bits.dtype == torch.uint8 and masks.crop_boxes.dtype == torch.long
    assert masks.crop_boxes.tolist() == [[20, 10, 25, 14], [999, 999, 1000, 1000]]


def test_other_dtypes_are_compared_with_zero():
    assert InstanceMasks.from_dense(torch.tensor([[[0.0, 0.2], [-1, 0]]])).to_dense().tolist() == [
        [[False, True], [True, False]]
    ]


def test_not_contiguous():
    dense = torch.rand(7, 5, 3).permute(2, 0, 1) > 0.5
    assert torch.equal(InstanceMasks.from_dense(dense).to_dense(), dense)


@pytest.mark.parametrize(
    "index",
    [
        [0, 5, 5, 2],
        [],
        slice(None, None, 2),
        slice(4, 4),
        torch.tensor([7, 1]),
        torch.tensor([], dtype=torch.long),
        torch.arange(8) % 3 == 0,
        np.array([1, -1]),
        np.arange(8) > 5,
    ],
)
def test_choosing(draw_objects, index):
    dense = draw_objects(8, 9, 13)
    chosen = InstanceMasks.from_dense(dense)[index]
    assert torch.equal(chosen.to_dense(), dense[index])


@pytest.mark.parametrize("index", [0, -1, 3])
def test_choosing_one(draw_objects, index):
    dense = draw_objects(8, 9, 13)
    assert torch.equal(InstanceMasks.from_dense(dense)[index].to_dense(), dense[index][None])


def test_an_index_out_of_range_raises(draw_objects):
    with pytest.raises(IndexError):
        InstanceMasks.from_dense(draw_objects(3, 5, 5))[3]


def test_cat(draw_objects):
    first, second = draw_objects(3, 9, 13, 1), draw_objects(4, 9, 13, 2)
    parts = [InstanceMasks.from_dense(first), InstanceMasks.empty((9, 13)), InstanceMasks.from_dense(second)]
    assert torch.equal(InstanceMasks.cat(parts).to_dense(), torch.cat([first, second]))


def test_no_objects():
    masks = InstanceMasks.empty((4, 6))
    assert len(masks) == 0 and masks.to_dense().shape == (0, 4, 6)
    assert masks.boxes().shape == (0, 4) and masks.areas().shape == (0,)
    assert masks.to_rle() == [] and masks.crops() == []
    assert len(masks[[]]) == 0 and len(masks[torch.zeros(0, dtype=torch.bool)]) == 0


def test_travels_between_processes(draw_objects):
    masks = InstanceMasks.from_dense(draw_objects(3, 9, 13))
    again = pickle.loads(pickle.dumps(masks))
    assert torch.equal(again.to_dense(), masks.to_dense())


def test_wrong_shape():
    with pytest.raises(SegkitError, match=r"\[3, 4\], expected \[N, H, W\]"):
        InstanceMasks.from_dense(torch.zeros(3, 4))


@pytest.mark.gpu
def test_same_on_cuda(draw_objects):
    dense = draw_objects(9, 40, 50)
    masks = InstanceMasks.from_dense(dense)
    there = InstanceMasks.from_dense(dense.cuda())
    assert there.device.type == "cuda" and there.crop_boxes.device.type == "cpu"
    pinned = masks.pin_memory()
    assert pinned.bits.is_pinned()
    for moved in (there, masks.to("cuda"), pinned.to("cuda", non_blocking=True)):
        assert torch.equal(moved.to_dense().cpu(), dense)
        assert torch.equal(moved.areas().cpu(), masks.areas())
        assert moved.to_rle() == masks.to_rle()
        assert moved.boxes().device.type == "cuda"
        for change in (
            lambda m: m.hflip(),
            lambda m: m.rot90(),
            lambda m: m.crop(3, 4, 30, 31),
            lambda m: m.resize((17, 23)),
            lambda m: m[torch.tensor([4, 2], device=m.device)],
        ):
            assert torch.equal(change(moved).to_dense().cpu(), change(masks).to_dense())
