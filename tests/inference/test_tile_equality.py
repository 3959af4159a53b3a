"""Tiled equals untiled, bit for bit, for detectors whose output depends on local pixels only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.inference.tiles import TileMerger, merge_tiles
from segkit.structures.components import connected_components
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.tiling import tile_windows


def detect(layers: np.ndarray, classes: int = 3) -> Detections:
    """The connected regions of each layer [L, H, W]; score and class are functions of layer and label."""
    found = [connected_components(np.ascontiguousarray(layer)) for layer in layers]
    values = np.concatenate([values.astype(np.int64) + 1000 * number for number, (values, _) in enumerate(found)])
    labels = np.concatenate([np.full(len(values), number) for number, (values, _) in enumerate(found)])
    labels = (labels + values % 1000 * len(layers)) % classes if classes > len(layers) else labels % classes
    scores = torch.from_numpy((values * 7919 % 100_003 / 100_003).astype(np.float32))
    return Detections.from_masks(InstanceMasks.cat([masks for _, masks in found]), scores, torch.from_numpy(labels))


def contents(found: Detections) -> list[tuple]:
    assert found.masks is not None
    rles = [rle["counts"] for rle in found.masks.to_rle()]
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), rles, strict=True)
    return [(box, score, label, rle) for box, score, label, rle in rows]


def tiled(layers: np.ndarray, size: tuple[int, int], overlap: int, classes: int) -> Detections:
    shape = layers.shape[1:]
    windows = tile_windows(shape, size, overlap)
    found = [detect(layers[:, y0:y1, x0:x1], classes) for x0, y0, x1, y1 in windows.tolist()]
    return merge_tiles(found, windows, shape)


def check(layers: np.ndarray, size: tuple[int, int], overlap: int, classes: int) -> None:
    merged, whole = contents(tiled(layers, size, overlap, classes)), contents(detect(layers, classes))
    assert sorted(merged) == sorted(whole)
    assert [row[1] for row in merged] == sorted((row[1] for row in whole), reverse=True)


def regions(pixels: np.ndarray) -> np.ndarray:
    """A label map in which each connected region has its own label."""
    _, masks = connected_components(np.ascontiguousarray(pixels))
    labels = np.zeros(pixels.shape, np.int64)
    for number, (crop, (x0, y0, x1, y1)) in enumerate(zip(masks.crops(), masks.crop_boxes.tolist(), strict=True)):
        labels[y0:y1, x0:x1][crop.numpy().astype(bool)] = number + 1
    return labels


TILES = {"tile_height": st.integers(2, 17), "tile_width": st.integers(2, 17), "data": st.data()}
SEEDS = st.integers(0, 10**6)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, side=st.integers(1, 6), classes=st.sampled_from([1, 3]), **TILES)
def test_touching_squares_of_all_sizes_with_corners_on_seams(
    seed: int, side: int, classes: int, tile_height: int, tile_width: int, data: st.DataObject
) -> None:
    """Every pixel belongs to an object; a side of 1 makes objects of one pixel; one class is class-agnostic."""
    rng = np.random.default_rng(seed)
    rows, columns = ((np.arange(length) + rng.integers(side)) // side for length in rng.integers(1, 30, 2).tolist())
    layers = (rows[:, None] * (columns.max() + 1) + columns + 1)[None].astype(np.int64)
    overlap = data.draw(st.integers(1, min(tile_height, tile_width) - 1))
    check(layers, (tile_height, tile_width), overlap, classes)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, **TILES)
def test_objects_that_wind_through_many_tiles(
    seed: int, tile_height: int, tile_width: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    pixels = (rng.random(tuple(rng.integers(1, 40, 2))) < 0.55).astype(np.int64) * rng.integers(1, 3)
    overlap = data.draw(st.integers(1, min(tile_height, tile_width) - 1))
    check(regions(pixels)[None], (tile_height, tile_width), overlap, 3)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, **TILES)
def test_objects_of_two_classes_cover_each_other(
    seed: int, tile_height: int, tile_width: int, data: st.DataObject
) -> None:
    """Cells with nuclei: in the corner that two tiles share, both may have the same pixels."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40, 2).tolist())
    layers = np.stack([(rng.random(shape) < share).astype(np.int64) for share in (0.62, 0.45)])
    layers = np.stack([regions(layer) for layer in layers])
    overlap = data.draw(st.integers(1, min(tile_height, tile_width) - 1))
    check(layers, (tile_height, tile_width), overlap, 2)


def test_an_object_on_the_corner_of_four_tiles() -> None:
    layers = np.zeros((1, 20, 20), np.int64)
    layers[0, 8:13, 9:12] = 4
    found = tiled(layers, (11, 11), 2, 3)
    assert contents(found) == contents(detect(layers))


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1)])
def test_thin_images(shape: tuple[int, int]) -> None:
    check(np.ones((1, *shape), np.int64), (4, 4), 1, 1)


def test_what_no_later_tile_can_meet_does_not_wait() -> None:
    layers = np.zeros((1, 200, 40), np.int64)
    layers[0, ::4, ::4] = np.arange(1, 501).reshape(50, 10)  # of one pixel
    layers[0, 1:199, 2] = 900  # through all rows of tiles
    windows = tile_windows(layers.shape[1:], (16, 16), 4)
    merger = TileMerger(windows, (200, 40))
    waiting = []
    for x0, y0, x1, y1 in windows.tolist():
        merger.add(detect(layers[:, y0:y1, x0:x1]))
        waiting.append(0 if merger._waiting is None else len(merger._waiting))
        crops = () if merger._waiting is None else merger._waiting.crops or ()
        assert all(getattr(crop, "base", None) is None for crop in crops)  # none holds the masks of a whole tile
    rows = len(set(windows[:, 1].tolist()))
    assert rows > 15 and max(waiting) < 60 and waiting[-1] == 0
    assert sorted(contents(merger.finish())) == sorted(contents(detect(layers)))


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, **TILES)
def test_boxes_without_masks_that_touch(seed: int, tile_height: int, tile_width: int, data: st.DataObject) -> None:
    """A grid of boxes; each tile has those that it sees, cut to it."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.append(0, np.cumsum(rng.integers(1, 25, 3))) for _ in range(2))
    corners = [(x0, y0, x1, y1) for y0, y1 in _sides(rows) for x0, x1 in _sides(columns)]
    boxes, size = torch.tensor(corners, dtype=torch.float32), (int(rows[-1]), int(columns[-1]))
    scores, labels = torch.arange(9) / 10, torch.arange(9) % 2
    overlap = data.draw(st.integers(1, min(tile_height, tile_width) - 1))
    found, windows = [], tile_windows(size, (tile_height, tile_width), overlap)
    for window in windows.tolist():
        x0, y0, x1, y1 = window
        cut = torch.stack([boxes[:, 0].clamp(min=x0), boxes[:, 1].clamp(min=y0), boxes[:, 2].clamp(max=x1)], 1)
        cut = torch.cat([cut, boxes[:, 3:].clamp(max=y1)], 1) - torch.tensor([x0, y0, x0, y0])
        seen = (cut[:, 2:] > cut[:, :2]).all(1)
        found.append(Detections(cut[seen], scores[seen], labels[seen], None, (y1 - y0, x1 - x0)))
    merged = merge_tiles(found, windows, size)
    assert merged.boxes.tolist() == boxes.flip(0).tolist() and merged.masks is None
    assert merged.labels.tolist() == labels.flip(0).tolist()


def _sides(ends: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
