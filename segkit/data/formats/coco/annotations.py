"""Checks the annotations of a COCO JSON while they are read, and packs them into records."""

from __future__ import annotations

import math
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from segkit.data.formats.coco.box_checks import (
    CORNERS,
    OUTSIDE,
    UNIT_BOX,
    UNIT_SQUARE,
    are_corners,
    box_problem,
    in_unit_square,
    outside,
)
from segkit.data.formats.coco.images import Images
from segkit.data.formats.coco.segmentation_errors import (
    are_pairs,
    counts_problem,
    polygons_problem,
    size_problem,
    string_problem,
)
from segkit.data.formats.parsing.categories import Category
from segkit.data.formats.parsing.json_values import all_finite, as_integer, mappings, not_integer_message, shown
from segkit.structures.rle import covered_pixels
from segkit.utils.errors import SegkitError

SKIPPED, POLYGONS, COMPRESSED, COUNTS, BOX_ONLY = range(5)  # kinds of segmentation
HEAD = struct.Struct("<5d")  # of a record: the box XYWH and the area, NaN if the file has none
NO_BOX = [math.nan] * 4
MAX_PENDING = 1 << 20  # characters of compressed RLE that are checked at once
MAX_EXAMPLES = 3  # annotations that a message names
# Reasons why training does not learn from an object. Crowd regions are kept, because evaluation uses them.
CROWD = "crowd regions (iscrowd 1)"
NO_POLYGON = "objects whose polygons have fewer than three corners, so that only their box is used"
NEITHER = "objects with neither a segmentation nor a box"
FLAT_BOX = "objects with a box of no width or height"
FLAT_BOX_WITH_MASK = "boxes of no width or height; the objects get the boxes of their masks"


class Annotations:
    """Checks annotations one by one, and writes box, area and segmentation of each as a record.

    The object itself holds 30 to 70 bytes an annotation. Checks that need the lists of images and categories, which may
    follow later in the file, are made at the end, by ``resolve_ids`` and ``check_boxes``.

    Args:
        file: for messages.
        append: called with the bytes of each record.

    Attributes:
        kinds: kind of each annotation's segmentation; SKIPPED if it has no record.
        crowds: 1 for a crowd region.
        ends: where each annotation's record ends, and the next one starts.
        skipped: number of skipped objects and polygons, by reason.
        lost: by reason, the number of objects that training does not learn from or gets wrong, each object once, and
            (list index, id) of the first few.
        other_task: the end of a message if the annotations belong to another task, such as captions; else empty.
    """

    def __init__(self, file: Path, append: Callable[[bytes], None]) -> None:
        self.kinds, self.crowds, self.ends = bytearray(), bytearray(), array("q")
        self.skipped: Counter[str] = Counter()
        self.lost: dict[str, tuple[int, list[tuple[int, Any]]]] = {}
        self.other_task = ""
        self._file, self._append, self._length = file, append, 0
        self._image_ids, self._category_ids = array("q"), array("q")
        self._invalid_ids: dict[str, tuple[int, str]] = {}  # list index and problem of the first one, by key
        self._rles, self._rle_sizes = array("q"), array("i")  # list indices of the RLEs; height and width of each
        # List indices of the annotations with a box but no polygons; their boxes; 1 if the object is not in `lost`.
        self._boxed, self._boxes, self._not_lost = array("q"), array("f"), bytearray()
        self._pending: list[tuple[int, bytes, tuple[int, int]]] = []  # compressed RLEs that are not checked yet
        self._pending_length = 0

    def read(self, items: Iterable[Any]) -> None:
        """Checks all annotations and writes their records."""
        for index, annotation in enumerate(mappings(self._file, "annotations", items)):
            self._image_ids.append(self._id(index, "image_id", annotation))
            self._category_ids.append(self._id(index, "category_id", annotation))
            kind, crowd, record, loss = self._record(index, annotation)
            if loss is not None:
                self._count_loss(loss, index, annotation.get("id"))
            if kind != SKIPPED:
                self._append(record)
                self._length += len(record)
            self.kinds.append(kind)
            self.crowds.append(crowd)
            self.ends.append(self._length)
        self._check_pending()

    def resolve_ids(self, images: Images, categories: list[Category]) -> tuple[np.ndarray, np.ndarray]:
        """Indices of each annotation's image and category in the file's lists.

        Raises:
            SegkitError: an id that no image or category has, or an RLE of another size than its image.
        """
        image, known = _indices_of(self._image_ids, images.ids)
        self._check_ids("image_id", known, self._image_ids, lambda value: f"there is no image with the id {value}")
        ids = [category.id for category in categories]
        category, known = _indices_of(self._category_ids, ids)
        expected_ids = (
            f"not one of the file's categories, {_ranges(sorted(ids))}"
            if ids
            else "unknown: the file has no categories"
        )
        self._check_ids(
            "category_id", known, self._category_ids, lambda value: f"category_id {value} is {expected_ids}"
        )
        sizes, owners = np.asarray(self._rle_sizes).reshape(-1, 2), image[np.asarray(self._rles)]
        expected = np.stack([np.asarray(images.heights)[owners], np.asarray(images.widths)[owners]], 1)
        wrong = (sizes != expected).any(1)
        if wrong.any():
            i = int(wrong.argmax())
            swapped = ": the two are swapped" if (sizes[i] == expected[i][::-1]).all() else ""
            expects = f"the image's [height, width] is {expected[i].tolist()}{swapped}"
            self._fail(self._rles[i], f"the RLE's size is {sizes[i].tolist()}; {expects}")
        return image, category

    def check_boxes(self, image: np.ndarray, images: Images) -> int:
        """Adds boxes without polygons to ``lost`` if they lie outside of their image, or are XYXY.

        Args:
            image: index of each annotation's image, as from ``resolve_ids``.
            images: the file's images.
        Returns:
            Number of objects without a mask whose box lies outside of their image.
        """
        indices, boxes = np.asarray(self._boxed), np.asarray(self._boxes).reshape(-1, 4)
        sides = np.stack([np.asarray(images.widths)[image[indices]], np.asarray(images.heights)[image[indices]]], 1)
        is_outside = outside(boxes, sides) & (np.asarray(self.kinds)[indices] == BOX_ONLY)
        not_lost = np.asarray(self._not_lost) != 0
        for index in indices[is_outside & not_lost].tolist():
            self._count_loss(OUTSIDE, index, None)
        if are_corners(boxes, sides):
            for index in indices[not_lost & ~is_outside].tolist():
                self._count_loss(CORNERS, index, None)
        return int(is_outside.sum())

    def _id(self, index: int, key: str, annotation: dict) -> int:
        """An id of an annotation.

        An invalid id is 0 here, and is reported by ``_check_ids``, after the whole file is read.
        """
        found = as_integer(annotation.get(key))
        if found is None:
            self.other_task = self.other_task or _other_task(annotation)
            self._invalid_ids.setdefault(key, (index, not_integer_message(annotation, key) + _other_task(annotation)))
        return found or 0

    def _check_ids(self, key: str, known: np.ndarray, ids: array[int], unknown: Callable[[int], str]) -> None:
        """Raises a SegkitError for the first annotation whose id is invalid or not in the file."""
        first_invalid, problem = self._invalid_ids.get(key, (len(ids), ""))
        first_unknown = int((~known).argmax()) if not known.all() else len(ids)
        if first_invalid < len(ids) and first_invalid <= first_unknown:
            self._fail(first_invalid, problem)
        if first_unknown < len(ids):
            self._fail(first_unknown, unknown(ids[first_unknown]), ids[first_unknown])

    def _count_loss(self, reason: str, index: int, annotation_id: Any) -> None:
        """Adds an object to ``lost``."""
        count, examples = self.lost.get(reason, (0, []))
        if count < MAX_EXAMPLES:
            examples.append((index, annotation_id))
        self.lost[reason] = count + 1, examples

    def _record(self, index: int, annotation: dict) -> tuple[int, int, bytes, str | None]:
        """Kind of segmentation, 1 for a crowd region, the record, and the reason for ``lost``."""
        segmentation: Any = annotation.get("segmentation")
        bbox, flat = annotation.get("bbox"), False
        if bbox is None or bbox == []:
            bbox = NO_BOX
        elif not isinstance(bbox, list) or len(bbox) != 4 or not all_finite(bbox):
            self._fail(index, f"'bbox' is {shown(bbox)}; expected [x, y, width, height], four finite numbers")
        elif bbox[2] <= 0 or bbox[3] <= 0:
            bbox, flat = NO_BOX, True
        kind, body, loss = self._segmentation(index, segmentation)
        if kind == SKIPPED and bbox is not NO_BOX:
            kind = BOX_ONLY
        elif kind == SKIPPED:
            loss = FLAT_BOX if flat else NEITHER
            self.skipped[loss] += 1
        elif flat:
            self.skipped[FLAT_BOX_WITH_MASK] += 1
        area, iscrowd = annotation.get("area"), annotation.get("iscrowd")
        if area is None:
            area = math.nan
        elif not (all_finite([area]) and area >= 0):
            self._fail(index, f"'area' is {shown(area)}; expected a number, 0 or more")
        if iscrowd is None:
            iscrowd = 0
        if isinstance(iscrowd, str) or iscrowd not in (0, 1):
            self._fail(index, f"'iscrowd' is {shown(iscrowd)}; expected the number 0 or 1")
        if loss is None and in_unit_square(bbox):
            loss = UNIT_SQUARE if kind == BOX_ONLY else UNIT_BOX
        if loss is None and iscrowd:
            loss = CROWD
        if loss is None and kind == POLYGONS and bbox is not NO_BOX:
            loss = box_problem(bbox, segmentation)
        if kind not in (SKIPPED, POLYGONS) and bbox is not NO_BOX:
            self._boxed.append(index)
            self._boxes.extend(bbox)
            self._not_lost.append(loss is None)
        return kind, int(iscrowd), HEAD.pack(*bbox, area) + body, loss

    def _segmentation(self, index: int, value: Any) -> tuple[int, bytes, str | None]:
        """Kind of a segmentation, its bytes in the record, and the reason for ``lost`` or None."""
        if value is None or value == {} or (isinstance(value, list) and all(part == [] for part in value)):
            return SKIPPED, b"", None
        if isinstance(value, dict):
            return *self._rle(index, value), None
        if not isinstance(value, list):
            self._fail(index, polygons_problem(value))
        kept: list[float] = []
        unit = True
        for polygon in value:
            if not isinstance(polygon, list) or len(polygon) % 2 or not all_finite(polygon):
                self._fail(index, polygons_problem(value))
            if len(polygon) < 6:
                if are_pairs(value):
                    self._fail(index, polygons_problem(value))
                self.skipped["polygons with fewer than three corners"] += 1
            else:
                kept.append(len(polygon))
                kept += polygon
                unit = unit and in_unit_square(polygon)
        if not kept:
            return SKIPPED, b"", NO_POLYGON
        return POLYGONS, array("d", kept).tobytes(), UNIT_SQUARE if unit else None

    def _rle(self, index: int, rle: dict) -> tuple[int, bytes]:
        """Kind of an RLE, and its bytes in the record."""
        counts, size = rle.get("counts"), rle.get("size")
        sides = [as_integer(side, 2**31) for side in size] if isinstance(size, list) else []
        if len(sides) != 2 or sides[0] is None or sides[1] is None:
            self._fail(index, size_problem(rle))
        height, width = sides[0], sides[1]
        self._rles.append(index)
        self._rle_sizes.extend((height, width))
        if not isinstance(counts, str):
            problem = counts_problem(counts, height, width)
            if problem is not None:
                self._fail(index, problem)
            return COUNTS, array("q", map(int, counts)).tobytes()  # type: ignore[arg-type]  # a list, or it failed
        string = counts.encode("utf-8", "surrogatepass")
        self._pending.append((index, string, (height, width)))
        self._pending_length += len(string)
        if self._pending_length > MAX_PENDING:
            self._check_pending()
        return COMPRESSED, string

    def _check_pending(self) -> None:
        """Checks many compressed RLEs at once, which is faster than one by one."""
        totals = covered_pixels([string for _, string, _ in self._pending])
        for total, (index, string, (height, width)) in zip(totals.tolist(), self._pending, strict=True):
            if total != height * width:
                self._fail(index, string_problem(string, total, height, width))
        self._pending, self._pending_length = [], 0

    def _fail(self, index: int, problem: str, value: Any = None) -> NoReturn:
        """Raises a SegkitError about an annotation."""
        raise SegkitError(f"{self._file}: annotations[{index}]: {problem}", value=value)


def _other_task(annotation: dict) -> str:
    """The end of a message about an annotation of another task than detection; empty for others."""
    for key, task in (("segments_info", "panoptic segmentation"), ("caption", "captions")):
        if key in annotation:
            return f"; with '{key}' this is a file of {task}: expected one of objects, as instances_train2017.json"
    return ""


def _indices_of(ids: array[int], known_ids: array[int] | list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Index of each id among the known ids, and whether it is among them."""
    searched, known = np.asarray(ids), np.asarray(known_ids, np.int64)
    if len(known) == 0:
        return np.zeros(len(searched), np.int32), np.zeros(len(searched), bool)
    order = np.argsort(known).astype(np.int32)
    indices = order[np.searchsorted(known, searched, sorter=order).clip(max=len(known) - 1)]
    return indices, known[indices] == searched


def _ranges(ids: list[int]) -> str:
    """Ids for a message: all of them, or their number and range if there are more than ten."""
    return ", ".join(map(str, ids)) if len(ids) <= 10 else f"{len(ids)} ids from {ids[0]} to {ids[-1]}"
