"""Crops of probable label errors: the annotation in one colour, the detection in another."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.dataset_tools.gallery.faults import Fault
from segkit.dataset_tools.gallery.shapes import shapes
from segkit.dataset_tools.gallery.show import Card
from segkit.dataset_tools.label_errors.flagged import FlaggedImage, FlaggedImages, is_region
from segkit.diagnosis.label_errors import LabelError
from segkit.engine.pictures import side_by_side
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.images import LazyImage, composite
from segkit.visualization.data_uris import SMALL_SIDE, enlargement, picture_uri, thumbnail_size
from segkit.visualization.outlines import paint_boxes, paint_masks

SHAPES = ("annotation", "detection", "other annotations")
COLORS = np.array([(255, 140, 0), (70, 170, 255), (190, 190, 190)], np.uint8)  # of SHAPES
DETECTION, DASH = 1, 5  # label of the detection; pixels of a dash of its outline
FLAT = 160  # of 255; crops of a smaller range are stretched
CONTEXT = 0.6  # of the longer side, around the shapes
LEAST_CONTEXT = 12  # pixels
LARGEST, TARGET = 640, 320  # longer side of a crop in pixels; smaller crops are enlarged to about TARGET


def window_of(image: FlaggedImage, error: LabelError) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the crop: the boxes of annotation and detection with their surroundings."""
    rows = [image.truth.boxes[error.object]] if error.object is not None else []
    rows += [image.found.boxes[error.detection]] if error.detection is not None else []
    boxes = torch.stack([row.double() for row in rows])
    low, high = boxes[:, :2].amin(0), boxes[:, 2:].amax(0)
    margin = max(LEAST_CONTEXT, CONTEXT * float((high - low).max()))
    (x0, y0), (x1, y1) = (low - margin).floor().long().tolist(), (high + margin).ceil().long().tolist()
    height, width = image.size
    x0, y0 = min(max(0, x0), width - 1), min(max(0, y0), height - 1)
    return x0, y0, max(x0 + 1, min(x1, width)), max(y0 + 1, min(y1, height))


def cropped_shapes(image: FlaggedImage, error: LabelError, window: tuple[int, int, int, int]) -> Targets:
    """The shapes in a window, in its pixels, labelled by ``SHAPES``; the detection comes last."""
    truth = image.truth
    others = [i for i, region in enumerate(is_region(truth).tolist()) if not region and i != error.object]
    parts = [_part(truth.boxes[others], None if truth.masks is None else truth.masks[others], 2, image.size)]
    if error.object is not None:
        rows = [error.object]
        parts.append(_part(truth.boxes[rows], None if truth.masks is None else truth.masks[rows], 0, image.size))
    if error.detection is not None:
        rows = [error.detection]
        found = image.found.masks if image.found.has_masks else None
        parts.append(_part(image.found.boxes[rows], None if found is None else found[rows], 1, image.size))
    whole = Targets.cat([part for part in parts if len(part)])
    x0, y0, x1, y1 = window
    boxes = whole.boxes - torch.tensor([x0, y0, x0, y0])
    boxes = boxes.clamp(min=0).minimum(torch.tensor([x1 - x0, y1 - y0] * 2))
    seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
    masks = None if whole.masks is None else whole.masks.crop(*window)
    cropped = Targets(boxes, whole.labels, masks, None, whole.has_mask if masks is not None else None)  # type: ignore[arg-type]
    return cropped[seen]


def _part(boxes: Tensor, masks: InstanceMasks | None, label: int, size: tuple[int, int]) -> Targets:
    """Shapes of one label; a shape whose mask is empty is a box."""
    labels = torch.full((len(boxes),), label)
    if masks is None:
        return Targets(boxes.float(), labels)
    filled = masks.crop_boxes[:, 2] > masks.crop_boxes[:, 0]
    return Targets(boxes.float(), labels, masks, None, filled)  # type: ignore[arg-type]


def pixels_of(image: Tensor | LazyImage, window: tuple[int, int, int, int]) -> Tensor:
    """A picture uint8 [3, h, w] of a window of an image, of which no more is read than needed.

    A dark or pale crop is stretched between its percentiles 0.5 and 99.5, over all colours alike.
    """
    x0, y0, x1, y1 = window
    part = image.read(window) if isinstance(image, LazyImage) else image[:, y0:y1, x0:x1]
    picture = composite(part)
    low, high = np.percentile(picture, (0.5, 99.5))
    if high > low and high - low < FLAT:
        picture = np.clip((picture - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def crop_picture(pixels: Tensor, found: Targets) -> np.ndarray:
    """The crop uint8 [3, h, w] beside itself with outlines, the detection's dashed."""
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    scaled = thumbnail_size(size, LARGEST)
    plain = pixels.permute(1, 2, 0).numpy()
    if scaled != size:
        tensor = torch.from_numpy(plain).permute(2, 0, 1)[None].float()
        plain = (
            F.interpolate(tensor, scaled, mode="bilinear", antialias=True)[0].permute(1, 2, 0).round().byte().numpy()
        )
    scale = max(1, TARGET // max(scaled))
    plain = np.ascontiguousarray(plain.repeat(scale, axis=0).repeat(scale, axis=1))
    annotated = _outlined(plain, found[found.labels != DETECTION], size, scaled, scale)
    drawn = _outlined(annotated, found[found.labels == DETECTION], size, scaled, scale)
    rows, columns = np.indices(drawn.shape[:2])
    gaps = (
        rows + columns
    ) // DASH % 2 == 1  # of the detection's outline, so that an equal one of the annotation is seen
    drawn[gaps] = annotated[gaps]
    return side_by_side(plain, drawn, 4)


def _outlined(
    picture: np.ndarray, found: Targets, size: tuple[int, int], scaled: tuple[int, int], scale: int
) -> np.ndarray:
    """The picture with outlines.

    Args:
        picture: uint8, of ``scaled`` times ``scale`` pixels.
        found: shapes at ``size``.
        size: (H, W) of the crop.
        scaled: (H, W) that it was scaled down to.
        scale: whole factor of enlargement after that.
    """
    drawn, colors = picture.copy(), COLORS[found.labels.numpy()]
    thickness = 1 if scale == 1 else 2
    factor = torch.tensor([scaled[1] / size[1], scaled[0] / size[0]] * 2)
    boxed = ~found.has_mask.numpy()
    if found.masks is not None:
        masks = found.masks if scaled == size else found.masks.resize(scaled)
        paint_masks(drawn, masks, colors, scale, thickness, style="outline", in_order=True)
    paint_boxes(drawn, (found.boxes * factor).numpy()[boxed], colors[boxed], scale, thickness)
    return drawn


def card_of(
    flagged: FlaggedImages, image: FlaggedImage, rank: int, error: LabelError, pixels: Tensor, found: Targets
) -> Card:
    """The entry of the page: the crop, and its shapes as vectors that can be switched off."""
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    height, width = thumbnail_size(size, TARGET)
    unit = enlargement((height, width))
    return Card(
        f"{rank}. {image.name}",
        error.kind,
        width * unit,
        height * unit,
        flagged.flag(image, error).removeprefix(f"{error.kind}: "),
        f"score {error.score:.2f}",
        picture_uri(pixels, (height, width)),
        max(height, width) < SMALL_SIDE,
        shapes(found, SHAPES, size, (height, width)),
        [Fault(f"{error.score:.2f}", error.reason, None, None)],
    )
