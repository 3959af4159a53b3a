"""Polygons against pycocotools on the full image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as pycocotools

from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

# pycocotools' own, with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
quick = settings(deadline=None, max_examples=25)


def reference(objects, size):
    dense = np.zeros((len(objects), *size), bool)
    for image, polygons in zip(dense, objects, strict=True):
        if polygons:
            rles = pycocotools.frPyObjects([list(map(float, p)) for p in polygons], *size)
            image[:] = pycocotools.decode(pycocotools.merge(rles))
    return torch.from_numpy(dense)


# Two decimals, as in COCO's files, where rounding to fifths of a pixel is often in question; also outside.
coordinates = st.integers(-1500, 6000).map(lambda hundredths: hundredths / 100)
polygons = st.integers(3, 9).flatmap(lambda n: st.lists(coordinates, min_size=2 * n, max_size=2 * n))


@quick
@given(
    objects=st.lists(st.lists(polygons, max_size=3), max_size=4),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_equal_to_pycocotools(objects, size):
    masks = InstanceMasks.from_polygons(objects, size)
    assert masks.image_size == size and len(masks) == len(objects)
    dense = masks.to_dense()
    assert torch.equal(dense, reference(objects, size))
    assert torch.equal(masks.crop_boxes, InstanceMasks.from_dense(dense).crop_boxes)


def test_far_from_the_origin():
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rng = np.random.default_rng(0)
    objects = []
    for _ in range(20):
        x, y = rng.uniform(0, 900, 2)
        outline = np.stack([x + 20 * np.cos(angles), y + 9 * np.sin(angles)], 1)
        objects.append([outline.round(2).reshape(-1).tolist(), (outline + 8).round(1).reshape(-1)])
    assert torch.equal(InstanceMasks.from_polygons(objects, (800, 900)).to_dense(), reference(objects, (800, 900)))


def test_outside_the_image():
    square = [0, 0, 8, 0, 8, 8, 0, 8]
    moved = [[[v + (dx, dy)[i % 2] for i, v in enumerate(square)]] for dx in (-9, -4, 6, 20) for dy in (-9, -4, 6, 20)]
    assert torch.equal(InstanceMasks.from_polygons(moved, (10, 10)).to_dense(), reference(moved, (10, 10)))


def test_no_objects_and_no_polygons():
    assert len(InstanceMasks.from_polygons([], (3, 4))) == 0
    assert InstanceMasks.from_polygons([[], []], (3, 4)).areas().tolist() == [0, 0]


@pytest.mark.parametrize("polygon", [[1, 2, 3, 4], [], [1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 1, float("nan"), 0], [[1, 2]]])
def test_broken_polygons(polygon):
    with pytest.raises(SegkitError, match=r"objects\[1\], polygon 0"):
        InstanceMasks.from_polygons([[[0, 0, 4, 0, 4, 4]], [polygon]], (9, 9))


def test_huge_coordinates():
    with pytest.raises(SegkitError, match="finite"):
        InstanceMasks.from_polygons([[[0, 0, 1e12, 0, 4, 4]]], (9, 9))


def test_the_farthest_corners_are_drawn():
    far = 1e6
    masks = InstanceMasks.from_polygons([[[-far, -far, far, -far, far, far, -far, far]]], (9, 8))
    assert masks.areas().tolist() == [72]


def test_outlines_that_pycocotools_has_no_memory_for():
    """It does not ask whether there is enough, and crashes: here a few corners ask for hundreds of gigabytes."""
    zigzag = [1e6, -1e6, -1e6, 1e6] * 5000
    with pytest.raises(
        SegkitError, match=r"objects\[1\], polygon 1: its outline is 2e?\S* pixels long, at most 10000000"
    ):
        InstanceMasks.from_polygons([[[0, 0, 4, 0, 4, 4]], [[0, 0, 4, 0, 4, 4], zigzag]], (9, 9))
    star = [0, 0, 9e5, 0, 0, 9e5]
    with pytest.raises(SegkitError, match=r"outlines of all polygons are .* at most 10000000"):
        InstanceMasks.from_polygons([[star]] * 5, (9, 9))


def test_runs_that_pycocotools_has_no_room_for():
    """In images of 67 million pixels and more, and there only for objects that cover whole columns."""
    size = (9000, 9000)
    small = [[10, 10, 50, 12, 30, 60]]
    columns = [[100, -1, 2100, -1, 2100, 9001, 100, 9001]]
    lower, upper = [[100, 2, 2100, 2, 2100, 9000, 100, 9000]], [[100, 0, 2100, 0, 2100, 2, 100, 2]]
    with pytest.raises(SegkitError, match=r"objects\[1\], polygon 0: it is as high as the image of 9000 x 9000 pixels"):
        InstanceMasks.from_polygons([small, columns], size=size)
    masks = InstanceMasks.from_polygons([small, [*lower, *upper]], size=size)
    assert masks.areas().tolist()[1] == 2000 * 9000
    assert InstanceMasks.from_polygons([[[100, 0, 600, 0, 600, 9000, 100, 9000]]], size=size).areas().tolist() == [
        500 * 9000
    ]
