"""Detections or ground truth drawn on an image, readable with few objects and hundreds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import composite
from segkit.visualization.colors import CROWD_COLOR, class_colors, instance_colors, touching_masks
from segkit.visualization.outlines import Style, paint_boxes, paint_masks
from segkit.visualization.text import FONT_SIZE, add_legend, cut, place_labels

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.masks import InstanceMasks
    from segkit.structures.targets import Targets

FEW_OBJECTS = 30  # with more objects only those large enough to hold a label have one
FEW_CLASSES = 6  # with more classes the legend shows only those that occur
READABLE_SIDE = 720  # smaller images are enlarged by a whole factor to about this, for outlines of one pixel
PIXELS_A_STROKE = 1100  # outlines are one pixel thicker for every 1100 pixels of the longer side


def draw_detections(
    image: np.ndarray | Tensor,
    objects: Detections | Targets,
    classes: Sequence[str] = (),
    *,
    color_by: Literal["instance", "class"] = "instance",
    style: Style = "both",
    labels: bool | None = None,
    legend: bool = True,
    scale: int | None = None,
    ids: Sequence[int] | None = None,
) -> np.ndarray:
    """Draws outlines, fills or both of each object, labels that fit, and a legend.

    Crowd and ignore regions of targets are hatched and have no label; the legend counts them apart from the objects.

    Args:
        image: uint8 [H, W, 3] array, RGB; or a tensor [C, H, W], uint8 or float in 0..1, of which
            :func:`~segkit.visualization.composite` makes a picture.
        objects: detections at the image's size, or targets; objects without a mask are drawn as boxes, if
            these have an area.
        classes: name of each label; labels without a name are shown as numbers.
        color_by: ``instance``: colours that differ between objects whose masks touch; ``class``: a colour per class, shown in
            the legend.
        style: ``both``: an outline around a light fill; ``outline``; ``fill``: strong fills without outlines.
        labels: True: all labels that fit; False: none; None: all for a few objects, only those of large objects for many.
        legend: whether to add a strip with the counts below.
        scale: whole factor of enlargement; None: chosen so that small images are readable.
        ids: a number of each object, such as its track, that decides its colour in place of ``color_by``.
    Returns:
        uint8 [H * scale + legend, W * scale, 3].
    """
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    masks = getattr(objects, "masks", None) if getattr(objects, "has_masks", True) else None
    size = masks.image_size if masks is not None else getattr(objects, "size", (height, width))
    if tuple(size) != (height, width):
        raise SegkitError(f"objects at {tuple(size)} cannot be drawn on an image of {(height, width)} (height, width)")
    if color_by not in ("instance", "class"):
        raise SegkitError(f"color_by is 'instance' or 'class', not '{color_by}'", key="color_by", value=color_by)
    if style not in get_args(Style):
        raise SegkitError(
            f"style is {style!r}{did_you_mean(str(style), get_args(Style))}; expected {', '.join(get_args(Style))}",
            key="style", value=style,
        )  # fmt: skip
    if scale is None:
        scale = min(4, math.ceil(READABLE_SIDE / max(height, width)))
    boxes = objects.boxes.detach().cpu().double().numpy()
    label_ids = objects.labels.detach().cpu().numpy()
    hatched = np.zeros(len(boxes), bool)
    if getattr(objects, "crowd", None) is not None:
        hatched = objects.crowd.cpu().numpy()  # type: ignore[union-attr]  # targets
    own = ~hatched
    unmasked = np.full(len(boxes), masks is None)
    if masks is not None and hasattr(objects, "has_mask"):
        unmasked = ~objects.has_mask.cpu().numpy()
    colors = np.full((len(boxes), 3), CROWD_COLOR, np.uint8)
    if ids is not None:
        colors[own] = class_colors(np.asarray(ids, np.int64)[own])
    elif color_by == "class":
        colors[own] = class_colors(label_ids[own])
    else:
        colors[own] = _colors_of_instances(boxes, masks, own, unmasked)
    picture = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    thickness = max(1 + max(picture.shape[:2]) // PIXELS_A_STROKE, 2 if scale > 1 else 1)
    flat = ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # empty masks have such boxes
    unmasked &= ~flat
    below = unmasked & hatched
    paint_boxes(picture, boxes[below], colors[below], scale, thickness, hatched=True)
    if masks is not None:
        paint_masks(picture, masks, colors, scale, thickness, hatched, style=style)
    above = unmasked & own
    paint_boxes(picture, boxes[above], colors[above], scale, thickness)
    unnamed = hatched | flat
    texts = ["" if u else text for text, u in zip(_texts(objects, label_ids, classes), unnamed, strict=True)]
    if labels is None:
        texts = [
            text if _has_room(box * scale, text, len(boxes)) else "" for text, box in zip(texts, boxes, strict=True)
        ]
    if labels is not False and any(texts):
        font_size = max(FONT_SIZE, round(FONT_SIZE * max(picture.shape[:2]) / 1600))
        picture = place_labels(picture, boxes * scale, texts, colors, font_size)
    if legend:
        entries = _legend_entries(label_ids[own], classes, color_by)
        for name, chosen in (("crowd", label_ids >= 0), ("not annotated", label_ids < 0)):
            if count := int((hatched & chosen).sum()):
                entries.append((name, count, CROWD_COLOR))
        picture = add_legend(picture, entries, int(own.sum()))
    return np.ascontiguousarray(picture)


def _colors_of_instances(
    boxes: np.ndarray, masks: InstanceMasks | None, own: np.ndarray, unmasked: np.ndarray
) -> np.ndarray:
    """Colours of the objects ``own``, bool [N]; if one of them has no mask, those whose boxes touch are neighbours."""
    if masks is None or unmasked[own].any():
        return instance_colors(boxes[own], None)
    return instance_colors(boxes[own], touching_masks(masks[torch.from_numpy(own)]))


def _pixels(image: np.ndarray | Tensor) -> np.ndarray:
    pixels: Any = image
    if isinstance(image, Tensor) and image.dim() == 3 and len(image) > 0:
        pixels = composite(image) if image.dtype == torch.uint8 or image.is_floating_point() else image
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        what = f"{getattr(image, 'dtype', type(image).__name__)} of shape {list(getattr(image, 'shape', []))}"
        raise SegkitError(
            f"an image to draw on is a uint8 array [H, W, 3] or a tensor [C, H, W] of uint8 or floats, not {what}"
        )
    return pixels


def _name(label: int, classes: Sequence[str]) -> str:
    return cut(str(classes[label])) if 0 <= label < len(classes) else str(label)


def _texts(objects: Detections | Targets, labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Labels such as ``name 0.93``; with a single class only the score, to save room."""
    scores = getattr(objects, "scores", None)
    if scores is None:
        return [_name(int(k), classes) for k in labels]
    names = [_name(int(k), classes) + " " if len(classes) != 1 else "" for k in labels]
    return [f"{name}{score:.2f}" for name, score in zip(names, scores.tolist(), strict=True)]


def _has_room(box: np.ndarray, text: str, count: int) -> bool:
    """Whether the box is large enough for a label, or the objects are few."""
    width, height = box[2] - box[0], box[3] - box[1]
    return count <= FEW_OBJECTS or (width >= FONT_SIZE * len(text) and height >= 8 * FONT_SIZE)


def _legend_entries(
    labels: np.ndarray, classes: Sequence[str], color_by: str
) -> list[tuple[str, int, tuple[int, int, int] | None]]:
    """Name, count and colour of all classes if few; else of those that occur, by frequency."""
    counts = {int(k): int(n) for k, n in zip(*np.unique(labels, return_counts=True), strict=True)}
    if len(classes) > FEW_CLASSES:
        shown = sorted(counts, key=lambda k: (-counts[k], k))
    else:
        shown = sorted(set(range(len(classes))) | set(counts))
    colors = class_colors(np.array(shown)) if color_by == "class" else [None] * len(shown)
    return [
        (_name(k, classes), counts.get(k, 0), None if c is None else tuple(int(v) for v in c))  # type: ignore[misc]
        for k, c in zip(shown, colors, strict=True)
    ]
