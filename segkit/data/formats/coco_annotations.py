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

from segkit.data.formats.coco_images import Images
from segkit.data.formats.coco_values import are_numbers, mappings, whole
from segkit.structures.rle import covered_pixels
from segkit.utils.errors import SegkitError

LEFT_OUT, POLYGONS, COMPRESSED, COUNTS, BOX_ONLY = range(5)  # kinds of segmentation
HEAD = struct.Struct("<5d")  # of a record: the box XYWH and the area, NaN where the file has none
NO_BOX = [math.nan] * 4
PENDING = 1 << 20  # characters of RLE that are checked at a time


class Annotations:
    """Checks annotations one by one. Of each, some 30 bytes stay here; box, area and segmentation go on as a record.

    What depends on the file's other lists, which may come later, is checked in the end, by ``places``.

    Args:
        file: for messages.
        append: takes the records' bytes.

    Attributes:
        kinds: of each annotation's segmentation; LEFT_OUT where there is no record.
        crowds: 1 for a crowd region.
        ends: where each annotation's record ends, and the next one starts.
        skipped: how many were left out, by reason.
    """

    def __init__(self, file: Path, append: Callable[[bytes], None]) -> None:
        self.kinds, self.crowds, self.ends = bytearray(), bytearray(), array("q")
        self.skipped: Counter[str] = Counter()
        self._file, self._append, self._length = file, append, 0
        self._image_ids, self._category_ids = array("q"), array("q")
        self._odd: dict[str, tuple[int, Any]] = {}  # the first image_id and category_id that is no integer
        self._rles, self._rle_sizes = array("q"), array("i")  # which annotations have an RLE; two sides for each
        self._unmasked, self._boxes = array("q"), array("d")  # which have a box only; its four numbers
        self._pending: list[tuple[int, bytes, tuple[int, int]]] = []  # compressed RLE still to be checked
        self._pending_length = 0

    def read(self, items: Iterable[Any]) -> None:
        """Check all annotations and keep them."""
        for number, annotation in enumerate(mappings(self._file, "annotations", items)):
            self._image_ids.append(self._id(number, "image_id", annotation))
            self._category_ids.append(self._id(number, "category_id", annotation))
            kind, crowd, record = self._record(number, annotation)
            if kind != LEFT_OUT:
                self._append(record)
                self._length += len(record)
            self.kinds.append(kind)
            self.crowds.append(crowd)
            self.ends.append(self._length)
        self._check_pending()

    def places(self, images: Images, categories: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Of each annotation, the place of its image and of its category in the file's lists.

        Raises:
            SegkitError: there is no such image or category, or the image's size is not the RLE's.
        """
        image, known = _lookup(self._image_ids, images.ids)
        unknown = self._first_unknown("image_id", known, self._image_ids)
        if unknown is not None:
            self._fail(unknown[0], f"there is no image with the id {unknown[1]!r}", unknown[1])
        category, known = _lookup(self._category_ids, list(categories.values()))
        unknown = self._first_unknown("category_id", known, self._category_ids)
        if unknown is not None:
            ids = _ranges(sorted(categories.values()))
            self._fail(unknown[0], f"category_id {unknown[1]!r} is none of the file's categories, {ids}", unknown[1])
        sizes, owners = np.asarray(self._rle_sizes).reshape(-1, 2), image[np.asarray(self._rles)]
        expected = np.stack([np.asarray(images.heights)[owners], np.asarray(images.widths)[owners]], 1)
        wrong = (sizes != expected).any(1)
        if wrong.any():
            i = int(wrong.argmax())
            expects = f"the image's [height, width] is {expected[i].tolist()}"
            self._fail(self._rles[i], f"the RLE's size is {sizes[i].tolist()}; {expects}")
        return image, category

    def boxes_outside(self, image: np.ndarray, images: Images) -> int:
        """How many objects have a box only, and one that lies outside of their image; ``image`` as from ``places``."""
        boxes, owners = np.asarray(self._boxes).reshape(-1, 4), image[np.asarray(self._unmasked)]
        sides = np.stack([np.asarray(images.widths)[owners], np.asarray(images.heights)[owners]], 1)
        return int(((boxes[:, :2] >= sides) | (boxes[:, :2] + boxes[:, 2:] <= 0)).any(1).sum())

    def _id(self, number: int, key: str, annotation: dict) -> int:
        value = annotation.get(key)
        found = whole(value, 2**63)
        if found is None:
            self._odd.setdefault(key, (number, value))
        return found or 0

    def _first_unknown(self, key: str, known: np.ndarray, ids: array[int]) -> tuple[int, Any] | None:
        found = [self._odd[key]] if key in self._odd else []
        if not known.all():
            i = int((~known).argmax())
            found.append((i, ids[i]))
        return min(found, key=lambda pair: pair[0], default=None)

    def _record(self, number: int, annotation: dict) -> tuple[int, int, bytes]:
        """Kind of segmentation, whether it is a crowd region, and the record."""
        bbox = annotation.get("bbox")
        if bbox is None or bbox == []:
            bbox = NO_BOX
        elif not isinstance(bbox, list) or len(bbox) != 4 or not are_numbers(bbox):
            self._fail(number, f"'bbox' is {str(bbox)[:80]}; expected [x, y, width, height]")
        elif bbox[2] <= 0 or bbox[3] <= 0:
            self.skipped["objects with a box of no width or height"] += 1
            return LEFT_OUT, 0, b""
        kind, body = self._segmentation(number, annotation.get("segmentation"))
        if kind == LEFT_OUT and bbox is not NO_BOX:
            kind = BOX_ONLY
            self._unmasked.append(number)
            self._boxes.extend(bbox)
        elif kind == LEFT_OUT:
            self.skipped["objects with neither a segmentation nor a box"] += 1
        area, iscrowd = annotation.get("area"), annotation.get("iscrowd", 0)
        if area is None:
            area = math.nan
        elif not (are_numbers([area]) and area >= 0):
            self._fail(number, f"'area' is {area!r}; expected a number, 0 or more")
        if iscrowd not in (0, 1):
            self._fail(number, f"'iscrowd' is {iscrowd!r}; expected 0 or 1")
        return kind, int(iscrowd), HEAD.pack(*bbox, area) + body

    def _segmentation(self, number: int, value: Any) -> tuple[int, bytes]:
        if value is None or value == [] or value == {}:
            return LEFT_OUT, b""
        if isinstance(value, dict):
            return self._rle(number, value)
        if not isinstance(value, list):
            self._fail(number, f"'segmentation' is {str(value)[:60]}; expected polygons or RLE")
        kept = array("d")
        for polygon in value:
            if not isinstance(polygon, list) or len(polygon) % 2 or not are_numbers(polygon):
                self._fail(number, f"a polygon is {str(polygon)[:60]}; expected a flat list x, y, x, y, ...")
            if len(polygon) < 6:
                self.skipped["polygons with fewer than three corners"] += 1
            else:
                kept.append(len(polygon))
                kept.extend(polygon)
        return (POLYGONS if kept else LEFT_OUT), kept.tobytes()

    def _rle(self, number: int, rle: dict) -> tuple[int, bytes]:
        counts, size = rle.get("counts"), rle.get("size")
        sides = [whole(side, 2**31) for side in size] if isinstance(size, list) else []
        if len(sides) != 2 or sides[0] is None or sides[1] is None:
            self._fail(number, f"the RLE's size is {str(size)[:60]}; expected the image's [height, width]")
        height, width = sides[0], sides[1]
        self._rles.append(number)
        self._rle_sizes.extend((height, width))
        if isinstance(counts, list):
            if not ({*map(type, counts)} <= {int} and min(counts, default=0) >= 0 and sum(counts) == height * width):
                self._fail(number, f"the RLE's counts do not add up to {height} x {width} pixels")
            return COUNTS, array("q", counts).tobytes()
        if not isinstance(counts, str):
            self._fail(number, f"the RLE's 'counts' is {str(counts)[:60]}; expected a string or a list")
        string = counts.encode("utf-8", "surrogatepass")
        self._pending.append((number, string, (height, width)))
        self._pending_length += len(string)
        if self._pending_length > PENDING:
            self._check_pending()
        return COMPRESSED, string

    def _check_pending(self) -> None:
        """Compressed counts are checked many at once: one by one, a character takes longer than to decode its JSON."""
        totals = covered_pixels([string for _, string, _ in self._pending])
        for total, (number, _, (height, width)) in zip(totals.tolist(), self._pending, strict=True):
            if total != height * width:
                covers = f"they cover {total} pixels of {height} x {width}" if total >= 0 else "they are no such code"
                self._fail(number, f"the RLE's counts are broken: {covers}")
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
