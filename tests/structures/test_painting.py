"""Exclusive label maps, compared with painting pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segkit.structures import InstanceMasks
from segkit.structures.painting import LabelPainter, by_score, smallest_type


def dense_map(dense: np.ndarray, ids: np.ndarray, order: np.ndarray) -> np.ndarray:
    expected = np.zeros(dense.shape[1:], np.int64)
    for i in order:
        expected[dense[i] & (expected == 0)] = ids[i]
    return expected


@pytest.mark.parametrize("seed", range(10))
def test_a_pixel_belongs_to_the_first_of_the_order(seed):
    rng = np.random.default_rng(seed)
    dense = rng.random((rng.integers(0, 9), *rng.integers(1, 30, 2))) < 0.3
    masks = InstanceMasks.from_dense(torch.from_numpy(dense))
    ids, order = rng.permutation(len(dense)) + 7, rng.permutation(len(dense))
    painter = LabelPainter(masks, ids, order=order, dtype=np.uint16)
    expected = dense_map(dense, ids, order)
    assert painter.paint().dtype == np.uint16
    np.testing.assert_array_equal(painter.paint(), expected)
    rows = int(rng.integers(1, 12))
    np.testing.assert_array_equal(np.concatenate(list(painter.bands(rows))), expected)


def test_a_hidden_object_has_no_pixel_and_an_empty_one_neither():
    dense = torch.zeros(3, 4, 5, dtype=torch.bool)
    dense[0] = dense[2, 1:3, 1:3] = True
    painted = LabelPainter(InstanceMasks.from_dense(dense), np.array([1, 2, 3])).paint()
    assert (painted == 1).all()


def test_equal_scores_stay_in_their_order():
    assert by_score(torch.tensor([0.5, 0.9, 0.5, 0.9])).tolist() == [1, 3, 0, 2]


def test_ids_above_16_bits_need_32():
    assert (smallest_type(65_535), smallest_type(65_536)) == (np.uint16, np.uint32)
