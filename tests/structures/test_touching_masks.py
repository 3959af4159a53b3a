"""Pairs of touching masks, compared with dilating every mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from segkit.structures import InstanceMasks, touching_masks
from segkit.structures.touching_masks import box_pairs, touching_pairs


def dilated_pairs(dense: np.ndarray) -> list[tuple[int, int]]:
    grown = [ndimage.binary_dilation(mask, np.ones((3, 3))) for mask in dense]
    count = len(dense)
    return [(i, j) for i in range(count) for j in range(i + 1, count) if (grown[i] & dense[j]).any()]


@pytest.mark.parametrize("at_once", [1, 3, touching_masks.PAIRS_AT_ONCE])
@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_those_of_dilated_masks(seed, at_once, monkeypatch):
    monkeypatch.setattr(touching_masks, "PAIRS_AT_ONCE", at_once)
    rng = np.random.default_rng(seed)
    dense = np.zeros((rng.integers(0, 10), *rng.integers(1, 22, 2)), np.bool_)
    for mask in dense:
        h, w = (rng.integers(1, min(side, 7) + 1) for side in mask.shape)
        y, x = rng.integers(0, mask.shape[0] - h + 1), rng.integers(0, mask.shape[1] - w + 1)
        mask[y : y + h, x : x + w] = rng.random((h, w)) < rng.random()
    first, second = touching_pairs(InstanceMasks.from_dense(torch.from_numpy(dense)))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == dilated_pairs(dense)


def test_corners_touch_and_a_gap_of_one_pixel_does_not():
    dense = torch.zeros(3, 3, 6, dtype=torch.bool)
    dense[0, 0, 0] = dense[1, 1, 1] = dense[2, 1, 3] = True
    first, second = touching_pairs(InstanceMasks.from_dense(dense))
    assert (first.tolist(), second.tolist()) == ([0], [1])


def test_a_row_of_many_boxes_has_no_more_pairs_than_neighbours():
    lefts = 10 * np.arange(2000)
    boxes = np.stack([lefts, 0 * lefts, lefts + 10, 0 * lefts + 10], 1)
    assert sum(len(first) for first, _ in box_pairs(boxes)) == 1999
