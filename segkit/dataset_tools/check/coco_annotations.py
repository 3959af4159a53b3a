"""Reads the annotations of a COCO JSON with faults: each is listed, and the rest is kept."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from math import isnan
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from segkit.data.formats.coco.annotations import (
    BOX_ONLY,
    FLAT_BOX,
    HEAD,
    NEITHER,
    NO_BOX,
    NO_POLYGON,
    POLYGONS,
    SKIPPED,
    Annotations,
)
from segkit.data.formats.coco.box_checks import CORNERS, UNIT_BOX, UNIT_SQUARE
from segkit.data.formats.coco.segmentation_errors import string_problem
from segkit.data.formats.parsing.json_values import all_finite, as_integer
from segkit.dataset_tools.check.polygons import polygon_problems
from segkit.structures.rle import covered_pixels
from segkit.utils.errors import SegkitError

GEOMETRY = ("bbox", "segmentation", "area", "iscrowd")
MAX_PENDING_POLYGONS = 4096
NO_ID = -1
UNKNOWN_BOX = np.full(4, np.nan, np.float32).tobytes()
INVALID_ID = 1 - 2**63  # of an image or a category, where the file has no whole number
OnFault = Callable[[str, int, str], None]  # kind, list index, message


class InvalidValue(SegkitError):
    """A value of an annotation that the reader refuses."""


class FaultyAnnotations(Annotations):
    """Annotations and their records, as the reader makes them, beyond the first fault.

    An invalid value is listed and removed; an object is skipped if nothing else says where it is.

    Args:
        file: for messages.
        append: called with the bytes of each record.
        on_fault: called for each fault.
    Attributes:
        ids: int64 [annotations] of the file; NO_ID if there is no whole number.
        given_boxes: float32 [annotations, 4] XYWH of the file; NaN if there is none.
        given_areas: float32 [annotations] of the file; NaN if there is none.
        bounds: float32 [annotations, 4], smallest and largest x and y of the polygons; NaN if there are none.
        several_polygons: 1 for an annotation of two or more polygons.
        unit: list indices of annotations with all coordinates in 0..1.
    """

    def __init__(self, file: Path, append: Callable[[bytes], Any], on_fault: OnFault) -> None:
        super().__init__(file, append)
        self.ids, self.given_boxes, self.given_areas = array("q"), array("f"), array("f")
        self.bounds, self.several_polygons = array("f"), bytearray()
        self.unit: list[int] = []
        self.image_ids, self.category_ids = self._image_ids, self._category_ids
        self.broken_strings: list[int] = []  # list indices of RLEs whose text is invalid
        self._on_fault = on_fault
        self._polygons: list[bytes] = []  # of annotations, as in their records
        self._lengths: list[int] = []  # of each polygon
        self._owners: list[int] = []  # list index of the annotation of each polygon

    def read(self, items: Iterable[Any]) -> None:
        for index, item in enumerate(items):
            annotation: dict = item if isinstance(item, dict) else {}
            if not isinstance(item, dict):
                self._on_fault("invalid_annotation", index, f"is {str(item)[:60]}; expected a mapping")
            self._image_ids.append(self._known_id(index, "image_id", annotation, item))
            self._category_ids.append(self._known_id(index, "category_id", annotation, item))
            found = as_integer(annotation.get("id"))
            self.ids.append(NO_ID if found is None else found)
            kind, crowd, record, loss = self._tolerant_record(index, annotation)
            if loss is not None and isinstance(item, dict):
                self._list_loss(index, loss, annotation)
            if kind != SKIPPED:
                self._append(record)
                self._length += len(record)
            self._describe(index, annotation, kind, loss, record)
            self.kinds.append(kind)
            self.crowds.append(crowd)
            self.ends.append(self._length)

    def finish(self) -> None:
        """Checks what waits to be checked, also after a file that ends early."""
        self._check_pending()
        self._check_polygons()

    def rles_of_other_sizes(self, sizes: np.ndarray) -> list[tuple[int, list[int], list[int]]]:
        """The RLEs that do not fit their image: list index, and both sizes [height, width].

        Args:
            sizes: int [annotations, 2], height and width of each annotation's image; 0 if it is unknown.
        """
        rles = np.asarray(self._rles)
        stated, expected = np.asarray(self._rle_sizes).reshape(-1, 2), sizes[rles].reshape(-1, 2)
        wrong = (stated != expected).any(1) & (expected > 0).all(1)
        return [(int(rles[i]), stated[i].tolist(), expected[i].tolist()) for i in np.flatnonzero(wrong)]

    def boxes_without_polygons(self) -> tuple[np.ndarray, np.ndarray]:
        """List indices [B] and XYWH boxes [B, 4] of the annotations with a box and no polygons."""
        return np.asarray(self._boxed), np.asarray(self._boxes).reshape(-1, 4)

    def drop_segmentation(self, index: int) -> None:
        """Keeps the box of an annotation alone, or skips it if it has none."""
        box = self.given_boxes[4 * index : 4 * index + 4]
        self.kinds[index] = BOX_ONLY if box[2] > 0 and box[3] > 0 else SKIPPED

    def _known_id(self, index: int, key: str, annotation: dict, item: Any) -> int:
        """An id of an annotation; INVALID_ID, and listed, if it is no whole number."""
        found = self._id(index, key, annotation)
        if key not in self._invalid_ids:
            return found
        _, problem = self._invalid_ids.pop(key)
        if isinstance(item, dict):
            self._on_fault("unknown_image" if key == "image_id" else "unknown_category", index, problem)
        return INVALID_ID

    def _tolerant_record(self, index: int, annotation: dict) -> tuple[int, int, bytes, str | None]:
        """The record of an annotation without its invalid values, each of which is listed."""
        try:
            return self._record(index, annotation)
        except InvalidValue:
            pass
        valid = {key: value for key, value in annotation.items() if key not in GEOMETRY}
        for key in GEOMETRY:
            if key not in annotation:
                continue
            noted = dict(self.skipped), len(self._boxed), len(self._rles), self._pending, self._pending_length
            self._pending, self._pending_length = [], 0
            try:
                self._record(index, {key: annotation[key]})
            except InvalidValue as error:
                kind = "invalid_segmentation" if key == "segmentation" else "invalid_annotation"
                self._on_fault(kind, index, str(error))
            else:
                valid[key] = annotation[key]
            self._restore(*noted)
        return self._record(index, valid)

    def _restore(self, skipped: dict[str, int], boxed: int, rles: int, pending: list, length: int) -> None:
        """Forgets what the trial of a single value noted."""
        self.skipped.clear()
        self.skipped.update(skipped)
        del self._boxed[boxed:], self._boxes[4 * boxed :], self._not_lost[boxed:]
        del self._rles[rles:], self._rle_sizes[2 * rles :]
        self._pending, self._pending_length = pending, length

    def _list_loss(self, index: int, loss: str, annotation: dict) -> None:
        """Lists what the reader counts as lost, if it is no crowd region and not looked at elsewhere."""
        if loss in (UNIT_SQUARE, UNIT_BOX):
            self._on_fault("unit_coordinates", index, "coordinates in 0..1; COCO files hold pixels")
            if loss == UNIT_SQUARE:
                self.unit.append(index)
        elif loss == CORNERS:
            self._on_fault("corner_boxes", index, f"the box {annotation['bbox']} ends where the polygons end")
        elif loss == NO_POLYGON:
            self._on_fault("few_corners", index, "no polygon has three corners")
        elif loss == NEITHER:
            self._on_fault("no_geometry", index, "neither a segmentation nor a box")
        elif loss == FLAT_BOX:
            self._on_fault(
                "flat_box", index, f"the box {annotation['bbox']} has no width or height, and there is no mask"
            )

    def _describe(self, index: int, annotation: dict, kind: int, loss: str | None, record: bytes) -> None:
        """Notes the box and area that the file states, and the polygons for later checks."""
        *box, area = HEAD.unpack_from(record)  # NaN for a box without width or height too
        stated = annotation.get("bbox")
        if isnan(box[0]) and kind not in (SKIPPED, BOX_ONLY) and _is_flat(stated):
            self._on_fault(
                "flat_box", index, f"the box {stated} has no width or height; the object gets that of its mask"
            )
        if loss in (UNIT_BOX, CORNERS):  # listed already: comparing it with the mask would list it again
            box = NO_BOX
        self.given_boxes.extend(box)
        self.given_areas.append(area)
        self.bounds.frombytes(UNKNOWN_BOX)
        polygons: Any = annotation["segmentation"] if kind == POLYGONS else ()
        lengths = [len(polygon) for polygon in polygons if len(polygon) >= 6]
        self.several_polygons.append(len(lengths) > 1)
        if len(lengths) < len(polygons):
            self._on_fault("few_corners", index, f"{len(polygons) - len(lengths)} of {len(polygons)} polygons")
        if lengths:
            self._polygons.append(record[HEAD.size :])
            self._lengths += lengths
            self._owners += [index] * len(lengths)
            if len(self._lengths) >= MAX_PENDING_POLYGONS:
                self._check_polygons()

    def _check_polygons(self) -> None:
        """Notes the bounds of many polygons at once, and checks them."""
        if not self._lengths:
            return
        lengths, owners = np.array(self._lengths), np.array(self._owners)
        ends = (lengths + 1).cumsum()  # each polygon follows its length
        packed = np.frombuffer(b"".join(self._polygons), np.float64)
        is_coordinate = np.ones(len(packed), bool)
        is_coordinate[ends - lengths - 1] = False
        corners = packed[is_coordinate].reshape(-1, 2)
        chosen, first = np.unique(owners, return_index=True)
        starts = (lengths.cumsum() - lengths)[first] // 2
        bounds = np.frombuffer(self.bounds, np.float32).reshape(-1, 4)
        with np.errstate(over="ignore"):
            bounds[chosen, :2] = np.minimum.reduceat(corners, starts)
            bounds[chosen, 2:] = np.maximum.reduceat(corners, starts)
        del bounds  # an array that is looked at cannot grow
        polygons = [packed[end - length : end] for end, length in zip(ends.tolist(), self._lengths, strict=True)]
        for index, problem in zip(self._owners, polygon_problems(polygons), strict=True):
            if problem == "self_intersecting":
                self._on_fault(problem, index, "a polygon intersects itself")
            elif problem:
                self._on_fault(problem, index, "a polygon has no area: its corners lie on one line")
        self._polygons, self._lengths, self._owners = [], [], []

    def _check_pending(self) -> None:
        totals = covered_pixels([string for _, string, _ in self._pending])
        for total, (index, string, (height, width)) in zip(totals.tolist(), self._pending, strict=True):
            if total != height * width:
                self._on_fault("invalid_segmentation", index, string_problem(string, total, height, width))
                self.broken_strings.append(index)
        self._pending, self._pending_length = [], 0

    def _fail(self, index: int, problem: str, value: Any = None) -> NoReturn:
        raise InvalidValue(problem, value=value)


def _is_flat(box: Any) -> bool:
    """Whether a valid box of the file has no width or no height."""
    return isinstance(box, list) and len(box) == 4 and all_finite(box) and min(box[2:]) <= 0
