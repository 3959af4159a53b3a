"""Overlays: the pixels, the legend, any number of objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.paths.file_names import unique_stems
from segkit.visualization.colors import CROWD_COLOR, class_colors, instance_colors
from segkit.visualization.draw import draw_detections


def targets(dense, labels=None, crowd=None):
    dense = torch.as_tensor(dense, dtype=torch.bool)
    masks = InstanceMasks.from_dense(dense)
    labels = torch.zeros(len(dense), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Targets(masks.boxes(), labels, masks, crowd)


def grey(size, value=100):
    return np.full((*size, 3), value, np.uint8)


def many(count, size=(200, 300), seed=0):
    rng = np.random.default_rng(seed)
    dense = np.zeros((count, *size), bool)
    for mask in dense:
        y, x = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        mask[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = True
    return targets(dense, rng.integers(0, 2, count).tolist())


def test_outline_fill_and_rim_of_one_square():
    dense = np.zeros((1, 20, 20), bool)
    dense[0, 5:15, 5:15] = True
    image = grey((20, 20))
    out = draw_detections(image, targets(dense), ["a"], scale=1, legend=False, labels=False)
    color = instance_colors(np.array([[5.0, 5, 15, 15]]))[0]
    assert out.shape == (20, 20, 3) and (out[5, 5:15] == color).all() and (out[5:15, 14] == color).all()
    assert np.allclose(out[6:14, 6:14], np.rint(0.78 * 100 + 0.22 * color.astype(float)), atol=1)
    assert (out[4, 5:15] == 40).all() and (out[:4] == 100).all() and (out[:, 16:] == 100).all()
    assert (image == 100).all()  # the input is left alone


def test_one_pixel_objects_can_be_seen_anywhere():
    dense = np.zeros((4, 9, 9), bool)
    for i, (y, x) in enumerate([(0, 0), (8, 8), (0, 8), (4, 4)]):
        dense[i, y, x] = True
    out = draw_detections(grey((9, 9)), targets(dense), ["a"], scale=1, legend=False, labels=False)
    changed = (out != 100).any(axis=2)
    for y, x in [(0, 0), (8, 8), (0, 8), (4, 4)]:
        assert changed[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].sum() >= 3


def test_a_mask_of_the_whole_image():
    out = draw_detections(grey((12, 9)), targets(np.ones((1, 12, 9), bool)), ["a"], scale=1, legend=False, labels=False)
    assert (out[0] == out[0, 0]).all() and (out[0] == out[-1]).all() and not (out == 100).all(axis=2).any()


def test_empty_set_is_the_image_with_a_legend():
    image = np.random.default_rng(0).integers(0, 256, (40, 400, 3), dtype=np.uint8)
    out = draw_detections(image, Targets.empty((40, 400)), ["a", "b"], scale=1)
    assert out.shape[0] > 40 and np.array_equal(out[:40], image)
    assert np.array_equal(draw_detections(image, Targets.empty((40, 400)), scale=1, legend=False), image)


@pytest.mark.parametrize("color_by", ["instance", "class"])
def test_hundreds_of_objects_are_deterministic(color_by):
    objects = many(350)
    first = draw_detections(grey((200, 300)), objects, ["a", "b"], color_by=color_by)
    assert np.array_equal(first, draw_detections(grey((200, 300)), objects, ["a", "b"], color_by=color_by))
    assert first.shape[1] == 900 and first.dtype == np.uint8


def test_empty_masks_are_not_drawn():
    dense = np.zeros((2, 10, 10), bool)
    dense[1, 2:4, 2:4] = True
    both, one = (
        draw_detections(grey((10, 10)), targets(d), ["a"], color_by="class", legend=False) for d in (dense, dense[1:])
    )
    assert np.array_equal(both, one) and not np.array_equal(one, np.full_like(one, 100))


def test_objects_without_a_mask_are_outlined_boxes():
    dense = np.zeros((3, 30, 40), bool)
    dense[1, 5:15, 5:15] = True
    boxes = torch.tensor([[20.0, 3, 35, 12], [5, 5, 15, 15], [2, 20, 39, 28]])
    has_mask, crowd = torch.tensor([False, True, False]), torch.tensor([False, False, True])
    masks = InstanceMasks.from_dense(torch.from_numpy(dense))
    objects = Targets(boxes, torch.zeros(3, dtype=torch.int64), masks, crowd, has_mask)
    out = draw_detections(grey((30, 40)), objects, ["a"], scale=1, legend=False, labels=False)
    color = instance_colors(boxes.numpy())
    assert (out[3, 20:35] == color[0]).all() and (out[11, 20:35] == color[0]).all()
    assert (out[3:12, 20] == color[0]).all() and (out[3:12, 34] == color[0]).all() and (out[4:11, 21:34] == 100).all()
    assert (out[20, 2:39] == CROWD_COLOR).all() and (out[21:27, 3:38] != 100).any()  # hatched
    alone = draw_detections(grey((30, 40)), objects[[1]], ["a"], scale=1, legend=False, labels=False)
    assert (out[5, 5:15] == color[1]).all() and (alone[6:14, 6:14] != 100).any()
    bare = Targets(boxes, objects.labels, None, crowd)
    out = draw_detections(grey((30, 40)), bare, ["a"], scale=1, legend=False, labels=False)
    assert (out[5, 5:15] == color[1]).all() and (out[6:14, 6:14] == 100).all()


def test_small_images_are_enlarged_and_the_scale_can_be_set():
    for size, width in (((50, 100), 400), ((256, 256), 768), ((900, 600), 600)):
        assert draw_detections(grey(size), Targets.empty(size)).shape[1] == width
    assert draw_detections(grey((50, 100)), Targets.empty((50, 100)), scale=2, legend=False).shape == (100, 200, 3)


def test_neighbours_differ():
    boxes = many(300).boxes.numpy()
    colors = instance_colors(boxes).astype(int)
    for i in range(300):
        touch = (boxes[:, :2] <= boxes[i, 2:]).all(1) & (boxes[:, 2:] >= boxes[i, :2]).all(1)
        touch[i] = False
        if 0 < touch.sum() <= 4:
            assert np.abs(colors[touch] - colors[i]).sum(axis=1).min() > 0
    row = np.array([[10.0 * i, 0, 10.0 * i + 10, 10] for i in range(20)])
    assert np.abs(np.diff(instance_colors(row).astype(int), axis=0)).sum(axis=1).min() > 150


def test_class_colors_are_the_same_everywhere():
    assert np.array_equal(class_colors(np.array([2, 0, 2]))[[0, 1]], class_colors(np.array([0, 2]))[::-1])
    assert len(np.unique(class_colors(np.arange(30)), axis=0)) == 30


def test_crowd_is_grey():
    dense = np.zeros((1, 20, 20), bool)
    dense[0, 5:15, 5:15] = True
    out = draw_detections(
        grey((20, 20)), targets(dense, crowd=torch.tensor([True])), scale=1, legend=False, labels=False
    )
    assert tuple(out[5, 5]) == CROWD_COLOR


def detections(count, size=(60, 80), probs=True):
    boxes = torch.tensor([[5.0 + i, 5.0, 35.0 + i, 45.0] for i in range(count)])
    masks = torch.ones(count, 4, 4) if probs else None
    return Detections(boxes, torch.linspace(0.9, 0.5, count), torch.zeros(count, dtype=torch.int64), masks, size)


def test_detections_with_and_without_masks_and_labels():
    image = grey((60, 80))
    with_labels = draw_detections(image, detections(3), ["a"])
    without = draw_detections(torch.from_numpy(image).permute(2, 0, 1), detections(3), ["a"], labels=False)
    assert with_labels.shape == without.shape and (with_labels != without).any()
    boxes_only = draw_detections(image, detections(1, probs=False), ["a"], scale=1, legend=False, labels=False)
    assert (boxes_only[20, 20] == 100).all() and (boxes_only[5, 20] != 100).any()
    assert draw_detections(image, detections(0), ["a"]).shape == without.shape
    assert draw_detections(image, detections(2), []).shape == without.shape  # class names are not needed


def test_mistakes():
    with pytest.raises(SegkitError, match=r"objects at \(60, 80\) cannot be drawn on an image of \(80, 60\)"):
        draw_detections(grey((80, 60)), detections(1))
    with pytest.raises(SegkitError, match="not float64 of shape"):
        draw_detections(np.zeros((60, 80, 3)), detections(1))
    with pytest.raises(SegkitError, match="'instance' or 'class'"):
        draw_detections(grey((60, 80)), detections(1), color_by="score")


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a/x.png", "b/x.png", "y.tif"], ["a__x", "b__x", "y"]),
        (["x.png", "x.tif"], ["x_png", "x_tif"]),
        (["a/X.png", "b/x.png"], ["a__X", "b__x"]),
        (["d/1/image.tif", "d/2/image.tif"], ["1__image", "2__image"]),
        (["a/x.png", "x.png", "a__x.png"], ["a__x-2", "x", "a__x"]),
        (["d/x/a.png", "d/y/b.png"], ["a", "b"]),
        (["a.png", "a.png", "a.png"], ["a_png", "a_png-2", "a_png-3"]),  # a file that a data set lists again
        (["a/b/i.png", "a_b/i.png", "a/b/i.tif"], ["a__b__i_png", "a_b__i", "a__b__i_tif"]),
    ],
)
def test_overlay_names_never_collide(names, stems):
    assert unique_stems(names) == stems
