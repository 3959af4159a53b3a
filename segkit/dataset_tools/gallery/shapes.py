"""Images and objects as parts of an HTML page: data URIs and SVG paths."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segkit.structures.outline_polygons import mask_outlines
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.images import composite

TOLERANCE = 0.8  # units by which a simplified outline may differ: more than the steps of a slanted edge
QUALITY = 85  # of JPEG
SMALL_SIDE = 300  # smaller images stay lossless, and are shown with square pixels


@dataclass(frozen=True)
class Shape:
    """One object on an image of the page, in the units of its SVG.

    Attributes:
        label: of its class; ``x`` for an ignore region.
        kind: ``crowd``, ``ignore`` or empty.
        title: shown under the pointer.
        path: SVG path of its mask; empty for a box without a mask.
        box: x, y, width, height.
        hue: 0 to 359, different for neighbouring objects.
    """

    label: str
    kind: str
    title: str
    path: str
    box: tuple[float, float, float, float]
    hue: int


def enlargement(size: tuple[int, int]) -> int:
    """Units of the SVG for a pixel of a thumbnail of ``size``: more than 1 for small ones.

    Hatching and outlines are then as fine on them as on others.
    """
    return max(1, SMALL_SIDE // max(size))


def thumbnail_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(H, W) of an image of ``size`` (H, W) scaled down until its longer side is ``side``."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def picture_uri(image: Tensor, size: tuple[int, int]) -> str:
    """An image [C, H, W], of any type and channels, as a data URI scaled to ``size``.

    ``size`` is (H, W). Small images are PNG, others JPEG.
    """
    pixels = torch.from_numpy(composite(image)).permute(2, 0, 1)
    if size != tuple(pixels.shape[1:]):
        pixels = F.interpolate(pixels[None].float(), size, mode="bilinear", antialias=True)[0].round().to(torch.uint8)
    kind = "PNG" if max(size) < SMALL_SIDE else "JPEG"
    stream = io.BytesIO()
    options = {"optimize": True} if kind == "PNG" else {"quality": QUALITY}
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def shapes(targets: Targets, classes: Sequence[str], size: tuple[int, int], scaled: tuple[int, int]) -> list[Shape]:
    """The objects of an image on its thumbnail, large ones first.

    Args:
        targets: of the image.
        classes: name of each label.
        size: (H, W) of the image.
        scaled: (H, W) of the thumbnail; a pixel is :func:`enlargement` units.
    """
    unit = enlargement(scaled)
    factor = unit * scaled[0] / size[0], unit * scaled[1] / size[1]
    paths = [""] * len(targets)
    areas = [0] * len(targets)
    if targets.masks is not None:
        areas = targets.masks.areas().tolist()
        small = targets.masks if scaled == size else targets.masks.resize(scaled)
        paths = [svg_path(parts, unit) for parts in mask_outlines(small)]
    found = []
    boxes = targets.boxes * torch.tensor([factor[1], factor[0]] * 2)
    rows = zip(boxes.tolist(), targets.labels.tolist(), targets.crowd.tolist(), targets.has_mask.tolist(), strict=True)
    for i, ((x0, y0, x1, y1), label, crowd, has_mask) in enumerate(rows):
        name = "ignored: no class is annotated here" if label == ALL_CLASSES else classes[label]
        area = f"{areas[i]:,} pixels" if has_mask else "box without a mask"
        kind = "ignore" if label == ALL_CLASSES else "crowd" if crowd else ""
        title = f"{name}{', crowd' if kind == 'crowd' else ''}, object {i}, {area}"
        box = (round(x0, 1), round(y0, 1), round(max(x1 - x0, 1), 1), round(max(y1 - y0, 1), 1))
        hue = round(i * 137.508) % 360  # the golden angle: neighbours in the list are far apart
        found.append(Shape("x" if label == ALL_CLASSES else str(label), kind, title, paths[i], box, hue))
    return sorted(found, key=lambda shape: -shape.box[2] * shape.box[3])


def svg_path(parts: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]], unit: int = 1) -> str:
    """The simplified rings of a mask as an SVG path; a pixel is ``unit`` units."""
    texts = []
    for outer, holes in parts:
        for ring in (outer, *holes):
            points = simplify(np.asarray(ring, np.float64) * unit, TOLERANCE).astype(int).tolist()
            texts.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(texts)


def simplify(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The corners of a closed ring [K, 2] that are needed to stay within a tolerance of it.

    Source: Douglas and Peucker, Algorithms for the reduction of the number of points, 1973. The ring is cut at its first
    corner and the one farthest from it.
    """
    if len(ring) < 5:
        return ring
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far, len(ring)]] = True
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        start, line = closed[first], closed[last] - closed[first]
        points = closed[first + 1 : last] - start
        length = float(np.hypot(*line))
        distances = abs(points[:, 0] * line[1] - points[:, 1] * line[0]) / length if length else np.hypot(*points.T)
        worst = int(distances.argmax())
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    chosen = ring[kept[:-1]]
    return chosen if len(chosen) > 2 else ring
