"""Checking the annotations of a COCO JSON, one by one as they are read: all that can be wrong with them is found here."""

from __future__ import annotations

import math
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from segkit.data.formats.coco_box_checks import (
    CORNERS,
    OUTSIDE,
    UNIT_BOX,
    UNIT_SQUARE,
    are_corners,
    box_problem,
    in_unit_square,
    outside,
)
from segkit.data.formats.coco_images import Category, Images
from segkit.data.formats.coco_segmentation_errors import (
    are_pairs,
    counts_problem,
    polygons_problem,
    size_problem,
    string_problem,
)
from segkit.data.formats.json_values import are_numbers, mappings, not_whole, other_task, shown, whole
from segkit.structures.rle import covered_pixels
from segkit.utils.errors import SegkitError

LEFT_OUT, POLYGONS, COMPRESSED, COUNTS, BOX_ONLY = range(5)  # kinds of segmentation
HEAD = struct.Struct("<5d")  # of a record: the box XYWH and the area, NaN where the file has none
NO_BOX = [math.nan] * 4
PENDING = 1 << 20  # characters of RLE that are checked at a time
MOST_PLACES = 3  # of the objects of a kind, for messages
# What training does not get, beside what is left out: kinds of objects that are kept, for evaluation has them.
CROWD = "crowd regions (iscrowd 1)"
NO_POLYGON = "objects whose polygons have fewer than three corners, so that only their box is used"
NOTHING = "objects with neither a segmentation nor a box"
FLAT_BOX = "objects with a box of no width or height"
FLAT_MASKED = "boxes of no width or height; these objects have the boxes of their masks"


class Annotations:
    """Checks annotations one by one. Of each, some 30 to 70 bytes stay here; box, area and segmentation go on as a record.

    What depends on the file's other lists, which may come later, is checked in the end, by ``places``.

    Args:
        file: for messages.
        append: takes the records' bytes.

    Attributes:
        kinds: of each annotation's segmentation; LEFT_OUT where there is no record.
        crowds: 1 for a crowd region.
        ends: where each annotation's record ends, and the next one starts.
        skipped: how many objects and polygons were left out, by reason.
        lost: how many objects training gets nothing from, by reason, each object once; and the place in the list and the
            id of the first few.
        other_task: what the annotations are, where they are none of objects; the end of a message.
    """

    def __init__(self, file: Path, append: Callable[[bytes], None]) -> None:
        self.kinds, self.crowds, self.ends = bytearray(), bytearray(), array("q")
        self.skipped: Counter[str] = Counter()
        self.lost: dict[str, tuple[int, list[tuple[int, Any]]]] = {}
        self.other_task = ""
        self._file, self._append, self._length = file, append, 0
        self._image_ids, self._category_ids = array("q"), array("q")
        self._odd: dict[str, tuple[int, Any]] = {}  # the first image_id and category_id that is no integer
        self._rles, self._rle_sizes = array("q"), array("i")  # which annotations have an RLE; two sides for each
        # Which have a box and no polygons; its four numbers; 1 where the object is not among the lost ones.
        self._boxed, self._boxes, self._counting = array("q"), array("f"), bytearray()
        self._pending: list[tuple[int, bytes, tuple[int, int]]] = []  # compressed RLE still to be checked
        self._pending_length = 0

    def read(self, items: Iterable[Any]) -> None:
        """Check all annotations and keep them."""
        for number, annotation in enumerate(mappings(self._file, "annotations", items)):
            self._image_ids.append(self._id(number, "image_id", annotation))
            self._category_ids.append(self._id(number, "category_id", annotation))
            kind, crowd, record, loss = self._record(number, annotation)
            if loss is not None:
                self._count_loss(loss, number, annotation.get("id"))
            if kind != LEFT_OUT:
                self._append(record)
                self._length += len(record)
            self.kinds.append(kind)
            self.crowds.append(crowd)
            self.ends.append(self._length)
        self._check_pending()

    def places(self, images: Images, categories: list[Category]) -> tuple[np.ndarray, np.ndarray]:
        """Of each annotation, the place of its image and of its category in the file's lists.

        Raises:
            SegkitError: there is no such image or category, or the image's size is not the RLE's.
        """
        image, known = _lookup(self._image_ids, images.ids)
        self._check_ids("image_id", known, self._image_ids, lambda value: f"there is no image with the id {value}")
        ids = [category.id for category in categories]
        category, known = _lookup(self._category_ids, ids)
        there = (
            f"none of the file's categories, {_ranges(sorted(ids))}" if ids else "unknown: the file has no categories"
        )
        self._check_ids("category_id", known, self._category_ids, lambda value: f"category_id {value} is {there}")
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
        """Counts boxes without polygons that lie outside of their image, or are corners, among the lost objects.

        Args:
            image: as from ``places``.
        Returns:
            How many objects have a box only, and one outside of their image.
        """
        numbers, boxes = np.asarray(self._boxed), np.asarray(self._boxes).reshape(-1, 4)
        sides = np.stack([np.asarray(images.widths)[image[numbers]], np.asarray(images.heights)[image[numbers]]], 1)
        beyond = outside(boxes, sides) & (np.asarray(self.kinds)[numbers] == BOX_ONLY)
        counting = np.asarray(self._counting) != 0
        for number in numbers[beyond & counting].tolist():
            self._count_loss(OUTSIDE, number, None)
        if are_corners(boxes, sides):
            for number in numbers[counting & ~beyond].tolist():
                self._count_loss(CORNERS, number, None)
        return int(beyond.sum())

    def _id(self, number: int, key: str, annotation: dict) -> int:
        found = whole(annotation.get(key))
        if found is None:
            self.other_task = self.other_task or other_task(annotation)
            self._odd.setdefault(key, (number, not_whole(annotation, key) + other_task(annotation)))
        return found or 0

    def _check_ids(self, key: str, known: np.ndarray, ids: array[int], unknown: Callable[[int], str]) -> None:
        """SegkitError for the first annotation whose id is no whole number or is not in the file."""
        odd, problem = self._odd.get(key, (len(ids), ""))
        first = int((~known).argmax()) if not known.all() else len(ids)
        if odd < len(ids) and odd <= first:
            self._fail(odd, problem)
        if first < len(ids):
            self._fail(first, unknown(ids[first]), ids[first])

    def _count_loss(self, reason: str, number: int, annotation_id: Any) -> None:
        count, places = self.lost.get(reason, (0, []))
        if count < MOST_PLACES:
            places.append((number, annotation_id))
        self.lost[reason] = count + 1, places

    def _record(self, number: int, annotation: dict) -> tuple[int, int, bytes, str | None]:
        """Kind of segmentation, whether it is a crowd region, the record, and why training gets nothing from it."""
        segmentation: Any = annotation.get("segmentation")
        bbox, flat = annotation.get("bbox"), False
        if bbox is None or bbox == []:
            bbox = NO_BOX
        elif not isinstance(bbox, list) or len(bbox) != 4 or not are_numbers(bbox):
            self._fail(number, f"'bbox' is {shown(bbox)}; expected [x, y, width, height], four finite numbers")
        elif bbox[2] <= 0 or bbox[3] <= 0:
            bbox, flat = NO_BOX, True
        kind, body, loss = self._segmentation(number, segmentation)
        if kind == LEFT_OUT and bbox is not NO_BOX:
            kind = BOX_ONLY
        elif kind == LEFT_OUT:
            loss = FLAT_BOX if flat else NOTHING
            self.skipped[loss] += 1
        elif flat:
            self.skipped[FLAT_MASKED] += 1
        area, iscrowd = annotation.get("area"), annotation.get("iscrowd")
        if area is None:
            area = math.nan
        elif not (are_numbers([area]) and area >= 0):
            self._fail(number, f"'area' is {shown(area)}; expected a number, 0 or more")
        if iscrowd is None:
            iscrowd = 0
        if isinstance(iscrowd, str) or iscrowd not in (0, 1):
            self._fail(number, f"'iscrowd' is {shown(iscrowd)}; expected the number 0 or 1")
        if loss is None and in_unit_square(bbox):
            loss = UNIT_SQUARE if kind == BOX_ONLY else UNIT_BOX
        if loss is None and iscrowd:
            loss = CROWD
        if loss is None and kind == POLYGONS and bbox is not NO_BOX:
            loss = box_problem(bbox, segmentation)
        if kind not in (LEFT_OUT, POLYGONS) and bbox is not NO_BOX:
            self._boxed.append(number)
            self._boxes.extend(bbox)
            self._counting.append(loss is None)
        return kind, int(iscrowd), HEAD.pack(*bbox, area) + body, loss

    def _segmentation(self, number: int, value: Any) -> tuple[int, bytes, str | None]:
        """Kind, the record's bytes, and why training gets nothing from it."""
        if value is None or value == {} or (isinstance(value, list) and all(part == [] for part in value)):
            return LEFT_OUT, b"", None
        if isinstance(value, dict):
            return *self._rle(number, value), None
        if not isinstance(value, list):
            self._fail(number, polygons_problem(value))
        kept, unit = array("d"), True
        for polygon in value:
            if not isinstance(polygon, list) or len(polygon) % 2 or not are_numbers(polygon):
                self._fail(number, polygons_problem(value))
            if len(polygon) < 6:
                if are_pairs(value):
                    self._fail(number, polygons_problem(value))
                self.skipped["polygons with fewer than three corners"] += 1
            else:
                kept.append(len(polygon))
                kept.extend(polygon)
                unit = unit and in_unit_square(polygon)
        if not kept:
            return LEFT_OUT, b"", NO_POLYGON
        return POLYGONS, kept.tobytes(), UNIT_SQUARE if unit else None

    def _rle(self, number: int, rle: dict) -> tuple[int, bytes]:
        counts, size = rle.get("counts"), rle.get("size")
        sides = [whole(side, 2**31) for side in size] if isinstance(size, list) else []
        if len(sides) != 2 or sides[0] is None or sides[1] is None:
            self._fail(number, size_problem(rle))
        height, width = sides[0], sides[1]
        self._rles.append(number)
        self._rle_sizes.extend((height, width))
        if not isinstance(counts, str):
            problem = counts_problem(counts, height, width)
            if problem is not None:
                self._fail(number, problem)
            return COUNTS, array("q", map(int, counts)).tobytes()  # type: ignore[arg-type]  # a list, or it failed
        string = counts.encode("utf-8", "surrogatepass")
        self._pending.append((number, string, (height, width)))
        self._pending_length += len(string)
        if self._pending_length > PENDING:
            self._check_pending()
        return COMPRESSED, string

    def _check_pending(self) -> None:
        """Compressed counts are checked many at once: one by one, a character takes longer than to decode its JSON."""
        totals = covered_pixels([string for _, string, _ in self._pending])
        for total, (number, string, (height, width)) in zip(totals.tolist(), self._pending, strict=True):
            if total != height * width:
                self._fail(number, string_problem(string, total, height, width))
        self._pending, self._pending_length = [], 0

    def _fail(self, number: int, problem: str, value: Any = None) -> NoReturn:
        raise SegkitError(f"{self._file}: annotations[{number}]: {problem}", value=value)


def _lookup(wanted: array[int], ids: array[int] | list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Place of each wanted id among ids, and whether it is there."""
    asked, there = np.asarray(wanted), np.asarray(ids, np.int64)
    if len(there) == 0:
        return np.zeros(len(asked), np.int32), np.zeros(len(asked), bool)
    order = np.argsort(there).astype(np.int32)
    places = order[np.searchsorted(there, asked, sorter=order).clip(max=len(there) - 1)]
    return places, there[places] == asked


def _ranges(ids: list[int]) -> str:
    return ", ".join(map(str, ids)) if len(ids) <= 10 else f"{len(ids)} ids from {ids[0]} to {ids[-1]}"
