"""Scenes of known masks, and functions that write them in several annotation formats, for the tests of their readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segkit.structures import InstanceMasks, Targets

SIZE = (24, 32)


def scene(seed=0, size=SIZE, count=6, overlap=False):
    """Dense masks, bool [N, H, W]: rectangles and discs that touch, have holes, parts and single pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    masks = []
    for i in range(count):
        cx, cy, r = rng.integers(0, size[1]), rng.integers(0, size[0]), rng.integers(2, 7)
        disc = (x - cx) ** 2 + (y - cy) ** 2 <= r * r
        if i % 3 == 1:
            disc &= ~((x - cx) ** 2 + (y - cy) ** 2 <= (r // 2) ** 2)  # a hole, which may hold a pixel
            disc[cy, cx] = True
        if i % 3 == 2:
            disc |= (abs(x - rng.integers(0, size[1])) < 3) & (abs(y - rng.integers(0, size[0])) < 3)
        masks.append(disc)
    masks.append((x == size[1] - 1) & (y == 0))
    dense = np.stack(masks)
    if not overlap:
        taken = np.zeros(size, bool)
        for mask in dense:
            mask &= ~taken
            taken |= mask
    return dense[dense.any((1, 2))]


def label_map(dense, dtype=np.uint16):
    """A label map of masks: mask i has the number i + 1."""
    labels = np.zeros(dense.shape[1:], dtype)
    for i, mask in enumerate(dense):
        labels[mask] = i + 1
    return labels


def save(path: Path, values):
    """Writes an array as an image; folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def save_image(path: Path, size=SIZE, seed=0):
    save(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def save_json(path: Path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def targets_of(dense, labels=None):
    masks = InstanceMasks.from_dense(torch.from_numpy(np.ascontiguousarray(dense)))
    return Targets(masks.boxes(), torch.tensor(labels if labels is not None else [0] * len(dense)), masks)


def mask_set(dense, labels=None):
    """Masks with their labels, without their order."""
    labels = [0] * len(dense) if labels is None else labels
    return sorted((int(label), np.packbits(mask).tobytes()) for label, mask in zip(labels, dense, strict=True))


def loaded_set(targets):
    return mask_set(targets.masks.to_dense().numpy(), targets.labels.tolist())


def trace(mask):
    """Outlines of a mask as ``mask_outlines`` returns them, by a slow search: parts of (outer ring, holes)."""
    from skimage.measure import label

    parts = []
    for number in range(1, label(mask, connectivity=1).max() + 1):
        part = np.pad(label(mask, connectivity=1) == number, 1)
        rings = _rings(part)
        areas = [sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(r, r[1:] + r[:1], strict=True)) / 2 for r in rings]
        outer = max(range(len(rings)), key=lambda i: abs(areas[i]))
        arrays = [np.array(ring) - 1 for ring in rings]
        parts.append((arrays[outer], [ring for i, ring in enumerate(arrays) if i != outer]))
    return parts


def _rings(part):
    """Closed paths along the edges of a mask, set pixels to the right."""
    edges = {}
    for y, x in zip(*np.nonzero(part), strict=True):
        for (dy, dx), begin, end in (
            ((-1, 0), (x, y), (x + 1, y)), ((0, 1), (x + 1, y), (x + 1, y + 1)),
            ((1, 0), (x + 1, y + 1), (x, y + 1)), ((0, -1), (x, y + 1), (x, y)),
        ):  # fmt: skip
            if not part[y + dy, x + dx]:
                edges.setdefault((int(begin[0]), int(begin[1])), []).append((int(end[0]), int(end[1])))
    rings = []
    while edges:
        start = point = next(iter(edges))
        ring, direction = [], None
        while True:
            options = edges[point]
            # At a corner where two pixels touch, turn right, so that the path stays with its pixel.
            best = options[0]
            if len(options) > 1 and direction is not None:
                best = next(o for o in options if (o[0] - point[0], o[1] - point[1]) == (-direction[1], direction[0]))
            options.remove(best)
            if not options:
                del edges[point]
            ring.append(point)
            direction = (best[0] - point[0], best[1] - point[1])
            point = best
            if point == start:
                break
        rings.append(ring)
    return rings


def mask_outlines(masks):
    return [trace(mask) for mask in masks.to_dense().numpy()]
