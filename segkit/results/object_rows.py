"""The row of each object in the table: its columns and how they are measured."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from segkit.inference.predicted_image import PredictedImage
from segkit.results.intensities import measure_intensities
from segkit.structures.masks import InstanceMasks
from segkit.structures.region_shapes import RegionShapes, region_shapes
from segkit.structures.touching_masks import touching_pairs
from segkit.utils.errors import SegkitError
from segkit.utils.images import PixelSize
from segkit.utils.table_text import escape_csv

# Column and type: text, whole number or number. Columns of a kind that an image lacks are empty.
COLUMNS: dict[str, type] = {
    "image": str, "stem": str, "series": str, "frame": int, "id": int, "track": int, "class": str, "score": float,
    "bbox_x0": float, "bbox_y0": float, "bbox_x1": float, "bbox_y1": float, "on_border": int, "neighbours": int,
    "area_px": float, "perimeter_px": float, "major_axis_px": float, "minor_axis_px": float,
    "centroid_x_px": float, "centroid_y_px": float,
    "circularity": float, "eccentricity": float, "orientation_rad": float, "solidity": float,
    "pixel_width_um": float, "pixel_height_um": float,
    "area_um2": float, "perimeter_um": float, "major_axis_um": float, "minor_axis_um": float,
    "centroid_x_um": float, "centroid_y_um": float,
}  # fmt: skip
_CONTROLS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
NEIGHBOUR_IDS = "neighbour_ids"
STATISTICS = ("mean", "min", "max", "sum")  # of each channel, with its index: mean_0, min_0, ...


def channel_columns(channels: int) -> list[str]:
    """The columns of the stored samples of some channels, counted from 0."""
    return [f"{name}_{channel}" for channel in range(channels) for name in STATISTICS]


def plain_text(text: str) -> str:
    """Text on one line; characters that a text file cannot hold are escaped as in Python."""
    shown = _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return shown.encode("utf-8", "backslashreplace").decode()


def csv_line(cells: Sequence[Any]) -> str:
    """A line of a CSV file, without its end; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


class ObjectRows:
    """Measures the objects of images.

    Args:
        classes: name of each label.
        intensities: whether to measure the stored samples.
        neighbour_ids: whether to list the ids of touching objects.
        escape: whether text that spreadsheets take for a formula is escaped.
    """

    def __init__(self, classes: Sequence[str], *, intensities: bool, neighbour_ids: bool, escape: bool) -> None:
        self._escape = escape
        self._classes = [self._text(name) for name in classes]
        self._intensities, self._neighbour_ids = intensities, neighbour_ids

    def _text(self, text: str) -> str:
        return escape_csv(plain_text(text)) if self._escape else plain_text(text)

    @property
    def columns(self) -> dict[str, type]:
        """The columns before those of the channels, with their types."""
        return COLUMNS | ({NEIGHBOUR_IDS: str} if self._neighbour_ids else {})

    def lines(self, image: PredictedImage, pixel_size: PixelSize | None) -> tuple[list[str], int]:
        """A line of CSV for each object, and the number of channels measured."""
        found, masks = image.detections, image.detections.masks
        if masks is None and len(found):
            columns, channels = self._boxes(image, pixel_size), 0
        else:
            masks = InstanceMasks.empty(image.size) if masks is None else masks
            columns = self._shapes(image, masks, pixel_size)
            channels = self._add_intensities(columns, image, masks)
        columns |= self._names(image)
        ordered = [columns[name] for name in (*self.columns, *channel_columns(channels))]
        return [csv_line(row) for row in zip(*ordered, strict=True)], channels

    def _names(self, image: PredictedImage) -> dict[str, list[Any]]:
        """The columns that need no mask."""
        count, found = len(image.detections), image.detections
        tracks = [None] * count if image.track_ids is None else image.track_ids.tolist()
        return {
            "image": [self._text(image.name)] * count,
            "stem": [self._text(image.stem)] * count,
            "series": ["" if image.series is None else self._text(image.series)] * count,
            "frame": [image.frame] * count,
            "id": image.object_ids.tolist(),
            "track": tracks,
            "class": [self._classes[label] for label in found.labels.tolist()],
            "score": [str(score) for score in found.scores.cpu().numpy()],  # the shortest digits of its own type
        }

    def _boxes(self, image: PredictedImage, size: PixelSize | None) -> dict[str, list[Any]]:
        """The columns of boxes without masks: those of shapes and samples are empty."""
        boxes = image.detections.boxes.cpu().numpy().astype(np.float64)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        # A box ends at a fraction of a pixel; the centre of a pixel is a whole number here.
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5
        columns = {name: [None] * len(boxes) for name in self.columns}
        columns |= _box_columns(boxes, image.size, tolerance=0.5)
        columns |= {"area_px": areas.tolist(), **_points("px", centres)}
        if size is not None:
            columns |= _pixel_columns(len(boxes), size) | _points("um", centres * [size.width, size.height])
            columns["area_um2"] = (areas * size.area).tolist()
        return columns

    def _shapes(self, image: PredictedImage, masks: InstanceMasks, size: PixelSize | None) -> dict[str, list[Any]]:
        """The columns of masks, but those of the samples."""
        shapes = region_shapes(masks)
        columns: dict[str, list[Any]] = {name: [None] * len(masks) for name in self.columns}
        columns |= _box_columns(masks.crop_boxes.numpy(), image.size, tolerance=0)
        columns |= self._neighbours(masks, image.object_ids)
        in_pixels = shapes.ellipses()
        columns |= {
            "area_px": shapes.areas.tolist(),
            "perimeter_px": _cells(shapes.perimeters),
            "major_axis_px": _cells(in_pixels.major),
            "minor_axis_px": _cells(in_pixels.minor),
            **_points("px", shapes.centroids),
            "solidity": _cells(shapes.solidities),
        }
        own = in_pixels if size is None else shapes.ellipses(size.width, size.height)
        columns |= {"eccentricity": _cells(own.eccentricity), "orientation_rad": _cells(own.orientation)}
        if size is None or size.is_square:
            columns["circularity"] = _cells(shapes.circularities)
        if size is not None:
            columns |= _calibrated(shapes, size, own.major, own.minor)
        return columns

    def _neighbours(self, masks: InstanceMasks, ids: np.ndarray) -> dict[str, list[Any]]:
        first, second = touching_pairs(masks)
        ends = np.concatenate([first, second])
        columns: dict[str, list[Any]] = {"neighbours": np.bincount(ends, minlength=len(masks)).tolist()}
        if self._neighbour_ids:
            lists: list[list[int]] = [[] for _ in range(len(masks))]
            for one, other in zip(ends.tolist(), ids[np.concatenate([second, first])].tolist(), strict=True):
                lists[one].append(other)
            columns[NEIGHBOUR_IDS] = [" ".join(map(str, sorted(one))) for one in lists]
        return columns

    def _add_intensities(self, columns: dict[str, list[Any]], image: PredictedImage, masks: InstanceMasks) -> int:
        """Adds the columns of the stored samples; returns the number of channels."""
        if not self._intensities:
            return 0
        if image.file is None and image.array is None:
            raise SegkitError(
                f"{image.name}: the table measures stored samples, but the image has neither a file nor an array; set "
                "intensities to false",
                key="intensities",
            )
        sums, lows, highs = measure_intensities(image, masks)
        empty = np.array(columns["area_px"], np.int64) == 0
        areas = np.where(empty, 1, columns["area_px"])
        for channel in range(sums.shape[1]):
            measured = (sums[:, channel] / areas, lows[:, channel], highs[:, channel], sums[:, channel])
            for name, values in zip(STATISTICS, measured, strict=True):
                columns[f"{name}_{channel}"] = _filled(values, empty)
        return sums.shape[1]


def _cells(values: np.ndarray) -> list[float | None]:
    """Numbers, with None for those that are undefined."""
    return _filled(values, np.isnan(values))


def _filled(values: np.ndarray, empty: np.ndarray) -> list[Any]:
    """Values, with None where ``empty`` is set."""
    return [None if no else value for no, value in zip(empty.tolist(), values.tolist(), strict=True)]


def _points(unit: str, points: np.ndarray) -> dict[str, list[Any]]:
    return {f"centroid_{axis}_{unit}": _cells(points[:, k]) for k, axis in enumerate("xy")}


def _box_columns(boxes: np.ndarray, size: tuple[int, int], tolerance: float) -> dict[str, list[Any]]:
    """Corners, and whether the object touches a side of the image."""
    height, width = size
    empty = np.logical_or.reduce(boxes[:, 2:] <= boxes[:, :2], axis=1)
    touches = (boxes[:, :2] <= tolerance).any(1) | (boxes[:, 2:] >= np.array([width, height]) - tolerance).any(1)
    columns: dict[str, list[Any]] = {"on_border": (touches & ~empty).astype(int).tolist()}
    for k, name in enumerate(("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1")):
        columns[name] = _filled(boxes[:, k], empty)
    return columns


def _pixel_columns(count: int, size: PixelSize) -> dict[str, list[Any]]:
    return {"pixel_width_um": [size.width] * count, "pixel_height_um": [size.height] * count}


def _calibrated(shapes: RegionShapes, size: PixelSize, major: np.ndarray, minor: np.ndarray) -> dict[str, list[Any]]:
    """The columns in micrometres; the perimeter is defined for square pixels."""
    columns: dict[str, list[Any]] = {
        **_pixel_columns(len(shapes.areas), size),
        "area_um2": (shapes.areas * size.area).tolist(),
        "major_axis_um": _cells(major),
        "minor_axis_um": _cells(minor),
        **_points("um", shapes.centroids * [size.width, size.height]),
    }
    if size.is_square:
        columns["perimeter_um"] = _cells(shapes.perimeters * size.area**0.5)
    return columns
