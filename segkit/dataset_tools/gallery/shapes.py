"""The objects of an image as parts of an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from segkit.structures.outline_polygons import mask_outlines
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.visualization.data_uris import enlargement
from segkit.visualization.svg_paths import svg_paths


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
        paths = svg_paths(mask_outlines(small), unit)
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
