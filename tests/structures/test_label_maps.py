"""Label maps against a comparison with each value."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError


def reference(labels):
    values = [value for value in np.unique(labels) if value != 0]
    return torch.from_numpy(np.stack([labels == v for v in values]) if values else np.zeros((0, *labels.shape), bool))


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    values=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5),
    seed=st.integers(0, 10**6),
)
def test_equal_to_comparing(height, width, values, seed):
    labels = np.random.default_rng(seed).choice(np.array([0, 0, *values]), (height, width))
    masks = InstanceMasks.from_label_map(labels)
    assert torch.equal(masks.to_dense(), reference(labels))
    assert torch.equal(masks.crop_boxes, InstanceMasks.from_dense(masks.to_dense()).crop_boxes)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_integer_types(dtype):
    labels = np.array([[0, 9, 9], [3, 9, 0], [3, 0, 100]], dtype)
    masks = InstanceMasks.from_label_map(labels)
    assert torch.equal(masks.to_dense(), reference(labels))
    assert masks.boxes().tolist() == [[0, 1, 1, 3], [1, 0, 3, 2], [2, 2, 3, 3]]


def test_parts_apart_are_one_object_and_rows_dont_run_on():
    labels = torch.tensor([[1, 0, 2], [2, 1, 1], [1, 0, 1]])
    assert torch.equal(InstanceMasks.from_label_map(labels).to_dense(), reference(labels.numpy()))


def test_views_and_tensors():
    labels = (torch.arange(24).reshape(4, 6) // 5).t()
    assert torch.equal(InstanceMasks.from_label_map(labels).to_dense(), reference(labels.numpy()))
    assert torch.equal(InstanceMasks.from_label_map(labels.numpy()[::-1]).to_dense(), reference(labels.numpy()[::-1]))


@pytest.mark.parametrize("size", [(3, 4), (0, 4), (3, 0)])
def test_no_objects(size):
    masks = InstanceMasks.from_label_map(np.zeros(size, np.int32))
    assert len(masks) == 0 and masks.image_size == size


def test_full_image():
    assert bool(InstanceMasks.from_label_map(torch.full((3, 4), 7)).to_dense().all())


def test_wrong_kinds():
    with pytest.raises(SegkitError, match="float32, expected integers"):
        InstanceMasks.from_label_map(torch.zeros(2, 2))
    with pytest.raises(SegkitError, match=r"\[2, 2, 1\], expected \[H, W\]"):
        InstanceMasks.from_label_map(np.zeros((2, 2, 1), int))
