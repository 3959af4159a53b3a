"""Reads the annotations of a COCO JSON with faults: each is listed, and the rest is kept."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable
from math import nan
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from segkit.data.formats.coco.annotations import (
    BOX_ONLY,
    FLAT_BOX,
    HEAD,
    MAX_PENDING,
    NEITHER,
    NO_POLYGON,
    POLYGONS,
    SKIPPED,
    Annotations,
)
from segkit.data.formats.coco.box_checks import CORNERS, UNIT_BOX, UNIT_SQUARE
from segkit.data.formats.coco.segmentation_errors import string_problem
from segkit.data.formats.parsing.json_values import all_finite, as_integer
from segkit.dataset_tools.check.coco_classes import INVALID_ID, OnFault
from segkit.dataset_tools.check.polygons import POLYGON_PROBLEMS, polygon_problems
from segkit.structures.polygons import MAX_COORDINATE
from segkit.structures.rle import covered_pixels
from segkit.utils.errors import SegkitError

GEOMETRY = ("bbox", "segmentation", "area", "iscrowd")
NO_ID = -1
UNKNOWN = struct.pack("<d", nan)  # the start of a record without a box


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
        has_box: 1 for an annotation with a box that can stand for its segmentation.
        unit: list indices of annotations with all coordinates in 0..1.
        unlike_boxes: list indices of annotations whose box was listed as in 0..1, or XYXY, beside polygons in pixels.
        undrawable: list indices of RLEs whose text is invalid, and of polygons with huge coordinates.
    """

    def __init__(self, file: Path, append: Callable[[bytes], Any], on_fault: OnFault) -> None:
        super().__init__(file, append)
        self.ids, self.has_box = array("q"), bytearray()
        self.unit: list[int] = []
        self.unlike_boxes: list[int] = []
        self.undrawable: list[int] = []
        self.image_ids, self.category_ids = self._image_ids, self._category_ids
        self._on_fault = on_fault
        # Polygons that are not checked yet, as in their records; the length of each, and its annotation's list index.
        self._polygons: list[bytes] = []
        self._polygon_lengths: list[int] = []
        self._polygon_owners: list[int] = []
        self._polygons_length = 0

    def read(self, items: Iterable[Any]) -> None:
        known_ids = ("image_id", self._image_ids), ("category_id", self._category_ids)
        for index, item in enumerate(items):
            annotation: dict = item if isinstance(item, dict) else {}
            if not isinstance(item, dict):
                self._on_fault("invalid_annotation", index, f"is {str(item)[:60]}; expected a mapping")
            for key, ids in known_ids:
                found = as_integer(annotation.get(key))
                ids.append(self._invalid_id(index, key, annotation, item) if found is None else found)
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

    def rles_of_other_sizes(
        self, image_sizes: Callable[[np.ndarray], np.ndarray]
    ) -> list[tuple[int, list[int], list[int]]]:
        """The RLEs that do not fit their image: list index, and both sizes [height, width].

        Args:
            image_sizes: height and width [N, 2] of the images of N annotations by list index; 0 if unknown.
        """
        rles = np.asarray(self._rles)
        stated, expected = np.asarray(self._rle_sizes).reshape(-1, 2), image_sizes(rles)
        wrong = (stated != expected).any(1) & (expected > 0).all(1)
        return [(int(rles[i]), stated[i].tolist(), expected[i].tolist()) for i in np.flatnonzero(wrong)]

    def boxes_without_polygons(self) -> tuple[np.ndarray, np.ndarray]:
        """List indices [B] and XYWH boxes [B, 4] of the annotations with a box and no polygons."""
        return np.asarray(self._boxed), np.asarray(self._boxes).reshape(-1, 4)

    def drop_segmentation(self, index: int) -> None:
        """Keeps the box of an annotation alone, or skips it if it has none."""
        self.kinds[index] = BOX_ONLY if self.has_box[index] else SKIPPED

    def _invalid_id(self, index: int, key: str, annotation: dict, item: Any) -> int:
        """Lists an id that is no whole number; returns INVALID_ID."""
        self._id(index, key, annotation)
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
        """Lists flat boxes and polygons of few corners, and keeps the polygons for ``_check_polygons``."""
        stated, lacks_box = annotation.get("bbox"), record.startswith(UNKNOWN)
        if lacks_box and kind not in (SKIPPED, BOX_ONLY) and _is_flat(stated):
            self._on_fault(
                "flat_box", index, f"the box {stated} has no width or height; the object gets that of its mask"
            )
        if loss in (UNIT_BOX, CORNERS):
            self.unlike_boxes.append(index)
            lacks_box = True
        self.has_box.append(not lacks_box)
        if kind != POLYGONS:
            return
        polygons = annotation["segmentation"]
        lengths = [len(polygon) for polygon in polygons if len(polygon) >= 6]
        if len(lengths) < len(polygons):
            self._on_fault("few_corners", index, f"{len(polygons) - len(lengths)} of {len(polygons)} polygons")
        self._polygons.append(record[HEAD.size :])
        self._polygon_lengths += lengths
        self._polygon_owners += [index] * len(lengths)
        self._polygons_length += len(record)
        if self._polygons_length > MAX_PENDING:
            self._check_polygons()

    def _check_polygons(self) -> None:
        """Checks many polygons at once, which is faster than one by one."""
        if not self._polygons:
            return
        packed, lengths = np.frombuffer(b"".join(self._polygons), "<f8"), np.array(self._polygon_lengths)
        is_coordinate = np.ones(len(packed), bool)
        is_coordinate[(lengths + 1).cumsum() - lengths - 1] = False  # each polygon follows its length
        corners = packed[is_coordinate].reshape(-1, 2)
        problems = polygon_problems(corners, lengths // 2)
        for index, problem in zip(self._polygon_owners, problems, strict=True):
            if problem:
                self._on_fault(problem, index, POLYGON_PROBLEMS[problem])
        if np.abs(corners).max() > MAX_COORDINATE:
            largest: dict[int, float] = {}
            reached = np.maximum.reduceat(np.abs(corners).max(1), (lengths.cumsum() - lengths) // 2)
            for index, value in zip(self._polygon_owners, reached.tolist(), strict=True):
                largest[index] = max(value, largest.get(index, 0.0))
            for index, value in largest.items():
                if value > MAX_COORDINATE:
                    text = f"coordinates reach {value:g}; at most {MAX_COORDINATE:g} can be drawn"
                    self._on_fault("invalid_segmentation", index, text)
                    self.undrawable.append(index)
        self._polygons, self._polygon_lengths, self._polygon_owners, self._polygons_length = [], [], [], 0

    def _check_pending(self) -> None:
        totals = covered_pixels([string for _, string, _ in self._pending])
        for total, (index, string, (height, width)) in zip(totals.tolist(), self._pending, strict=True):
            if total != height * width:
                self._on_fault("invalid_segmentation", index, string_problem(string, total, height, width))
                self.undrawable.append(index)
        self._pending, self._pending_length = [], 0

    def _fail(self, index: int, problem: str, value: Any = None) -> NoReturn:
        raise InvalidValue(problem, value=value)


def _is_flat(box: Any) -> bool:
    """Whether a valid box of the file has no width or no height."""
    return isinstance(box, list) and len(box) == 4 and all_finite(box) and min(box[2:]) <= 0
