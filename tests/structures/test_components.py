import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segkit.structures.components import component_values, connected_components

label = pytest.importorskip("skimage.measure").label


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)),
    st.sampled_from([4, 8]),
)
def test_equals_scikit_image(values, connectivity):
    expected = label(values, connectivity=connectivity // 4, background=0)
    found, masks = connected_components(values, connectivity)
    dense = masks.to_dense().numpy()
    drawn = np.zeros_like(expected)
    for i, mask in enumerate(dense):
        drawn[mask] = i + 1
        assert (values[mask] == found[i]).all()
    assert (drawn == expected).all() and dense.sum() == (values > 0).sum()
    assert component_values(values, connectivity).tolist() == found.tolist() and len(found) == expected.max()


def test_a_spiral_is_one_component():
    """A path that joins rows again and again, so that roots change late."""
    values = np.zeros((41, 41), bool)
    x = y = 20
    dx, dy = 2, 0
    for length in range(1, 20):
        for _ in range(2):
            for _ in range(length):
                for _ in range(2):
                    if 0 <= x < 41 and 0 <= y < 41:
                        values[y, x] = True
                    x, y = x + dx // 2, y + dy // 2
            dx, dy = -dy, dx
    assert len(component_values(values, 4)) == label(values, connectivity=1).max() == 1


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 3)])
def test_nothing_set(shape):
    values, masks = connected_components(np.zeros(shape, np.uint8))
    assert len(values) == len(masks) == 0 and masks.image_size == shape
