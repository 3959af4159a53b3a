"""Objects that touch by their masks differ in colour; outlines, fills, and crowded pictures."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.visualization.colors import instance_colors, touching_masks
from segkit.visualization.draw import draw_detections


def mosaic(count, side, seed=0):
    """Targets of ``count`` objects that fill an image: each pixel belongs to the nearest of random points."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros((side, side), np.int64)
    y, x = np.unravel_index(rng.permutation(side * side)[:count], (side, side))
    seeds[y, x] = np.arange(1, count + 1)
    row, column = distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    masks = InstanceMasks.from_label_map(torch.from_numpy(seeds[row, column]))
    return Targets(masks.boxes().float(), torch.zeros(count, dtype=torch.long), masks)


def adjacent(masks):
    """Pairs of masks that have neighbouring pixels, by brute force."""
    dense = torch.nn.functional.pad(masks.to_dense().float(), (1, 1, 1, 1))
    grown = torch.nn.functional.max_pool2d(dense, 3, 1, 1).flatten(1) > 0
    common = grown.float() @ dense.flatten(1).T
    return {tuple(sorted(pair)) for pair in common.nonzero().tolist() if pair[0] != pair[1]}


def hue(color):
    return colorsys.rgb_to_hsv(*(np.asarray(color) / 255))[0]


def test_touching_masks_equal_brute_force():
    targets = mosaic(40, 48)
    found = {tuple(pair) for pair in touching_masks(targets.masks).tolist()}
    assert adjacent(targets.masks) <= found
    assert len(found) < 40 * 39 / 4  # those within two pixels, not those whose boxes touch


def test_overlapping_separate_and_empty_masks():
    dense = torch.zeros(5, 20, 20, dtype=torch.bool)
    dense[0, 2:10, 2:10] = True
    dense[1, 4:6, 4:6] = True  # inside of the first
    dense[2, 2:10, 11:15] = True  # one pixel beside the first
    dense[3, 15:18, 15:18] = True  # apart
    masks = InstanceMasks.from_dense(dense)  # the last one is empty
    assert touching_masks(masks).tolist() == [[0, 1], [0, 2]]
    assert touching_masks(InstanceMasks.empty((5, 5))).shape == (0, 2)


def test_300_touching_objects_differ_from_their_neighbours():
    targets = mosaic(300, 200)
    pairs = touching_masks(targets.masks)
    colors = instance_colors(targets.boxes.numpy(), pairs)
    hues = np.array([hue(color) for color in colors])
    apart = np.abs(hues[pairs[:, 0]] - hues[pairs[:, 1]])
    assert np.minimum(apart, 1 - apart).min() > 0.08  # of 12 hues
    drawn = draw_detections(
        np.full((200, 200, 3), 90, np.uint8), targets, ["cell"], style="fill", scale=1, legend=False
    )
    centers = [np.argwhere(mask)[len(np.argwhere(mask)) // 2] for mask in targets.masks.to_dense().numpy()]
    expected = np.rint(0.4 * 90 + 0.6 * colors)
    got = np.array([drawn[y, x] for y, x in centers])
    assert np.abs(got - expected).max() <= 1


def test_more_neighbours_than_hues_still_differ():
    pairs = np.array([[i, j] for j in range(20) for i in range(j)])
    colors = instance_colors(np.zeros((20, 4)), pairs)
    assert len(np.unique(colors, axis=0)) == 20


def test_styles():
    dense = torch.zeros(1, 20, 20, dtype=torch.bool)
    dense[0, 5:15, 5:15] = True
    masks = InstanceMasks.from_dense(dense)
    targets = Targets(masks.boxes().float(), torch.tensor([0]), masks)
    image = np.full((20, 20, 3), 100, np.uint8)
    both, outline, fill = (
        draw_detections(image, targets, ["a"], style=style, scale=1, legend=False, labels=False)
        for style in ("both", "outline", "fill")
    )
    assert (outline[6:14, 6:14] == 100).all() and (outline[5, 5:15] == both[5, 5:15]).all()
    assert len(np.unique(fill[5:15, 5:15].reshape(-1, 3), axis=0)) == 1 and (fill[4] == 100).all()
    with pytest.raises(SegkitError, match="did you mean 'outline'"):
        draw_detections(image, targets, ["a"], style="outlines")


def test_a_thousand_objects_have_labels_only_where_they_fit():
    targets = mosaic(1000, 160)
    image = np.full((160, 160, 3), 90, np.uint8)
    plain = draw_detections(image, targets, ["cell"], labels=False, legend=False)
    assert np.array_equal(draw_detections(image, targets, ["cell"], legend=False), plain)  # none fits
    assert not np.array_equal(draw_detections(image, targets, ["cell"], labels=True, legend=False), plain)
