"""Merging of tile detections: tiled equals untiled for a detector whose output depends on local pixels only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.inference.tiles import merge_tiles
from segkit.structures.components import connected_components
from segkit.structures.detections import Detections
from segkit.structures.label_maps import label_runs
from segkit.structures.masks import InstanceMasks
from segkit.structures.tiling import tile_windows
from segkit.utils.errors import SegkitError


def detect(labels: np.ndarray) -> Detections:
    """A detection of each connected piece of a label; score and class are functions of the label."""
    values, masks = connected_components(np.ascontiguousarray(labels))
    values = values.astype(np.int64)
    scores = torch.from_numpy(((values * 37) % 101 / 101.0).astype(np.float32))
    return Detections.from_masks(masks, scores, torch.from_numpy(values % 3))


def contents(found: Detections) -> list[tuple]:
    masks = found.masks
    assert masks is not None
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), masks.to_rle(), strict=True)
    return [(box, score, label, rle["counts"]) for box, score, label, rle in rows]


def in_order(found: Detections) -> Detections:
    boxes = found.boxes.numpy()
    order = np.lexsort((boxes[:, 0], boxes[:, 1], -found.scores.numpy()))
    return found[torch.from_numpy(order)]


def tiled(labels: np.ndarray, size: tuple[int, int], overlap: int) -> Detections:
    windows = tile_windows(labels.shape, size, overlap)
    found = [detect(labels[y0:y1, x0:x1]) for x0, y0, x1, y1 in windows.tolist()]
    return merge_tiles(found, windows, labels.shape)


def scene(seed: int, height: int, width: int, side: int) -> np.ndarray:
    """Connected objects with labels of their own: rectangles, rings and walks, touching and covering each other."""
    rng, pixels = np.random.default_rng(seed), np.zeros((height, width), np.int64)
    for label in range(1, int(rng.integers(2, 14))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        h, w = rng.integers(1, side + 1, 2).tolist()
        if label % 3 == 0:
            for dy, dx in rng.integers(-1, 2, (3 * side, 2)).tolist():
                y, x = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                pixels[y, x] = label
            continue
        pixels[y : y + h, x : x + w] = label
        if label % 3 == 1:
            pixels[y + 1 : y + h - 1, x + 1 : x + w - 1] = 0
    _, masks = connected_components(pixels)
    whole = np.zeros_like(pixels)
    for index in range(len(masks)):
        whole[masks[index].to_dense()[0].numpy().astype(bool)] = index + 1
    return whole


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.integers(2, 20), st.integers(2, 20), st.data())
def test_tiled_equals_untiled(
    seed: int, height: int, width: int, tile_height: int, tile_width: int, data: st.DataObject
) -> None:
    labels = scene(seed, height, width, 24)
    overlap = data.draw(st.integers(1, min(tile_height, tile_width) - 1))
    assert contents(tiled(labels, (tile_height, tile_width), overlap)) == contents(in_order(detect(labels)))


def test_a_u_cut_by_a_seam_is_one_object() -> None:
    labels = np.zeros((12, 30), np.int64)
    labels[2, 2:28] = labels[9, 2:28] = labels[2:10, 27] = 5
    found = tiled(labels, (12, 10), 3)
    assert contents(found) == contents(detect(labels)) and len(found) == 1


def test_class_and_score_are_those_of_the_largest_piece() -> None:
    def piece(x0: int, x1: int, score: float, label: int) -> Detections:
        dense = torch.zeros(1, 4, 10)
        dense[0, 1:3, x0:x1] = 1
        return Detections.from_masks(InstanceMasks.from_dense(dense), torch.tensor([score]), torch.tensor([label]))

    windows = tile_windows((4, 16), (10, 10), 4)
    found = merge_tiles([piece(1, 10, 0.3, 0), piece(0, 5, 0.9, 1)], windows, (4, 16))
    assert found.labels.tolist() == [0] and found.scores.tolist() == pytest.approx([0.3])
    assert found.boxes.tolist() == [[1, 1, 11, 3]]


def test_boxes_without_masks() -> None:
    def boxes(*rows: list[float]) -> Detections:
        values = torch.tensor(rows).reshape(-1, 4)
        return Detections(
            values, torch.full((len(values),), 0.5), torch.zeros(len(values), dtype=torch.long), None, (10, 10)
        )

    windows = tile_windows((10, 16), (10, 10), 4)
    found = merge_tiles([boxes([6, 1, 9, 3], [2, 5, 10, 8]), boxes([0, 1, 3, 3], [0, 5, 7, 8])], windows, (10, 16))
    assert found.boxes.tolist() == [[6, 1, 9, 3], [2, 5, 13, 8]]


def test_tiles_without_detections_and_of_another_size() -> None:
    windows = tile_windows((10, 16), (10, 10), 4)
    nothing = detect(np.zeros((10, 10), np.int64))
    assert len(merge_tiles([nothing, nothing], windows, (10, 16))) == 0
    with pytest.raises(SegkitError, match="window"):
        merge_tiles([nothing, detect(np.zeros((9, 10), np.int64))], windows, (10, 16))


def test_label_runs_of_the_scene_are_connected() -> None:
    labels = scene(3, 40, 40, 24)
    values, _ = connected_components(labels)
    assert len(values) == len(set(values.tolist())) == len(set(label_runs(labels).values.tolist())) > 3
