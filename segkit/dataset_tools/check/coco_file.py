"""Reads a COCO JSON with any number of faults, and opens the rest as a data set."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segkit.data.formats.coco.annotations import BOX_ONLY, SKIPPED
from segkit.data.formats.coco.box_checks import are_corners
from segkit.data.formats.coco.extra_columns import ExtraColumns
from segkit.data.formats.coco.images import Images
from segkit.data.formats.parsing.json_stream import stream_mapping
from segkit.data.formats.parsing.json_values import as_integer
from segkit.dataset_tools.check.coco_annotations import FaultyAnnotations
from segkit.dataset_tools.check.coco_classes import INVALID_ID, FaultyCategories
from segkit.dataset_tools.check.coco_dataset import FaultyCoco, FaultyTable, Records
from segkit.dataset_tools.check.report import Fault
from segkit.utils.errors import SegkitError
from segkit.utils.garbage import gc_paused
from segkit.utils.paths.missing_files import files_in, missing_files, suggest_files

# Height and width [N, 2] of the images of N annotations by list index; 0 if unknown.
ImageSizes = Callable[[np.ndarray], np.ndarray]


@dataclass
class ImageList:
    """The valid images of the file, in its order.

    Attributes:
        ids, heights, widths, names: of each image.
        known_ids: INVALID_ID and the ids of invalid entries, whose annotations are skipped without a fault of their own.
    """

    ids: list[int] = field(default_factory=list)
    heights: array[int] = field(default_factory=lambda: array("i"))
    widths: array[int] = field(default_factory=lambda: array("i"))
    names: list[str] = field(default_factory=list)
    known_ids: set[int] = field(default_factory=lambda: {INVALID_ID})


def read_coco(
    json: Path, images: Path, split: str, scratch: Path, columns: type[ExtraColumns] = ExtraColumns
) -> tuple[FaultyCoco | None, list[Fault]]:
    """The data set of a COCO JSON without what is invalid, and all faults of the file.

    Args:
        json: the annotation file.
        images: the folder of images.
        split: for the faults.
        scratch: a folder for the arrays of the file, which has to exist as long as the data set.
        columns: checks the keys of a format that extends COCO.
    Returns:
        The data set; None if no image is left.
    Raises:
        SegkitError: ``scratch`` cannot be written to.
    """
    reading = _Reading(json, images, split, columns(json))
    records = scratch / f"{len(os.listdir(scratch))}.records"
    try:
        with open(records, "wb") as stream, gc_paused():
            reading.read(stream)
    except OSError as error:
        raise SegkitError(
            f"{records}: cannot be written: {error.strerror or error}; annotations are kept in the folder of temporary "
            "files while they are checked: set TMPDIR to a folder with more space than the JSON has",
            value=str(records),
        ) from error
    return reading.dataset(records), reading.faults


class _Reading:
    """One pass over the file."""

    def __init__(self, json: Path, folder: Path, split: str, extra: ExtraColumns) -> None:
        self.json, self.folder, self.split, self.extra = json, folder, split, extra
        self.faults: list[Fault] = []
        self.images = ImageList()
        self.categories = FaultyCategories(json, self._category_fault)
        self.listed: list[tuple[str, int, str]] = []  # faults of annotations, before their images are known
        self.present = np.zeros(0, np.int64)
        self.unread: set[str] = set()  # lists behind the place where the file breaks off

    def read(self, stream: BinaryIO) -> None:
        """Reads the JSON, and writes the records of its annotations."""
        annotations = FaultyAnnotations(self.json, stream.write, lambda *fault: self.listed.append(fault))
        lists, keys = set(), []
        try:
            for key, items in stream_mapping(self.json):
                keys.append(key)
                if items is None:
                    continue
                lists.add(key)
                if key == "images":
                    self._read_images(self._checked("images", items, self.extra.add_image, "invalid_class_list"))
                elif key == "categories":
                    self.categories.read(
                        self._checked("categories", items, self.extra.add_category, "invalid_category")
                    )
                elif key == "annotations":
                    annotations.read(items)
        except SegkitError as error:
            self._add("unreadable_annotations", str(error).removeprefix(f"{self.json}: "), place=str(self.json))
            self.unread = {"images", "categories"} - lists
        annotations.finish()
        lacking = [f"'{key}'" for key in ("images", "annotations", "categories") if key not in lists]
        if lacking and not self.faults:
            found = f"its keys are {', '.join(keys[:8])}" if keys else "it has no keys"
            text = f"is not in the COCO format: there is no list {' and no list '.join(lacking)} ({found})"
            self._add("unreadable_annotations", text + annotations.other_task, place=str(self.json))
        self._finish(annotations)

    def dataset(self, records: Path) -> FaultyCoco | None:
        """The data set of the records; None without images."""
        if not len(self.present):
            return None
        table = FaultyTable({**self.columns, "records": Records(records)})
        return FaultyCoco(self.json, self.folder, table, self.statements, self.categories.classes())

    def _checked(self, key: str, items: Iterable[Any], check: Callable[[int, Any], None], kind: str) -> Iterator[Any]:
        """The entries of a list, whose keys beside COCO's are checked."""
        for index, item in enumerate(items):
            place = f"{self.json}: {key}[{index}]"
            try:
                check(index, item)
            except SegkitError as error:
                self._add(kind, str(error).removeprefix(f"{place}: "), image=self._file_name(item), place=place)
            yield item

    def _read_images(self, items: Iterable[Any]) -> None:
        """Checks the list of images."""
        seen: dict[int, str] = {}
        for index, item in enumerate(items):
            place = f"{self.json}: images[{index}]"
            try:
                one = Images(self.json, [self.extra.with_coco_keys(item)])
            except SegkitError as error:
                found = as_integer(item.get("id")) if isinstance(item, dict) else None
                if found is not None:
                    self.images.known_ids.add(found)
                text = str(error).removeprefix(f"{self.json}: images[0]").lstrip(": ")
                self._add("invalid_image_entry", text, image=self._file_name(item), place=place)
                continue
            image_id, name = one.ids[0], one.names.decode("utf-8", "surrogatepass")
            if image_id in seen:
                text = f"the id {image_id} is that of the image '{seen[image_id]}' already"
                self._add("repeated_image_id", text, image=name, place=place)
                continue
            seen[image_id] = name
            self.images.ids.append(image_id)
            self.images.heights.append(one.heights[0])
            self.images.widths.append(one.widths[0])
            self.images.names.append(name)

    def _finish(self, annotations: FaultyAnnotations) -> None:
        """Matches annotations with images and categories, and makes the columns of a table of what is valid."""
        ids = np.asarray(self.images.ids, np.int64)
        image, known = match(annotations.image_ids, ids)
        category, known_category = self.categories.match(annotations.category_ids)
        self._list_unknown(annotations, known, known_category)
        sides = np.stack([np.asarray(self.images.heights), np.asarray(self.images.widths)], 1).astype(np.int64)

        def image_sizes(indices: np.ndarray) -> np.ndarray:
            if not len(ids):
                return np.zeros((len(indices), 2), np.int64)
            return np.where(known[indices, None], sides[image[indices]], 0)

        self._drop_segmentations(annotations, image_sizes)
        is_corners = self._list_corners(annotations, image_sizes)
        self.present = self._present_images()
        position = np.full(len(ids) + 1, -1, np.int32)
        position[self.present] = np.arange(len(self.present))
        self._describe_faults(annotations, image, known)
        image = position[np.where(known, image, len(ids))]
        kinds = np.asarray(annotations.kinds).copy()
        kinds[(image < 0) | ~known_category] = SKIPPED
        kept = np.flatnonzero(kinds != SKIPPED)
        kept = kept[np.argsort(image[kept], kind="stable")].astype(np.int32)
        names = [self.images.names[i].encode("utf-8", "surrogatepass") for i in self.present]
        ends = np.asarray(annotations.ends)
        self.columns = {
            "image_id": ids[self.present],
            "height": sides[self.present, 0],
            "width": sides[self.present, 1],
            "name_end": np.cumsum([len(name) for name in names], dtype=np.int64),
            "names": np.frombuffer(b"".join(names), np.uint8),
            "last": np.bincount(image[kept], minlength=len(self.present)).cumsum(),
            "category": self.categories.labels(category[kept]).astype(np.int32),
            "kind": kinds[kept],
            "crowd": np.asarray(annotations.crowds)[kept],
            "end": ends[kept],
            "start": np.append(0, ends[:-1])[kept] if len(kept) else ends[:0],
        }
        self.statements = {"entries": kept, "ids": np.asarray(annotations.ids)[kept], "corners": is_corners[kept]}
        for name, indices in (("unit", annotations.unit), ("unlike_box", annotations.unlike_boxes)):
            chosen = np.zeros(len(kinds), bool)
            chosen[indices] = True
            self.statements[name] = chosen[kept]

    def _list_unknown(self, annotations: FaultyAnnotations, known: np.ndarray, known_category: np.ndarray) -> None:
        """Lists annotations of images and categories that are not in the file, and repeated ids."""
        for index in np.flatnonzero(~known).tolist() if "images" not in self.unread else ():
            image_id = annotations.image_ids[index]
            if image_id not in self.images.known_ids:
                self.listed.append(("unknown_image", index, f"there is no image with the id {image_id}"))
        if "categories" not in self.unread:
            for index in np.flatnonzero(~known_category).tolist():
                category_id = annotations.category_ids[index]
                if category_id not in self.categories.invalid_ids:
                    self.listed.append(("unknown_category", index, f"there is no category with the id {category_id}"))
            for unknown in self.extra.unknown_ids([*self.categories.ids(), *self.categories.invalid_ids]):
                self._add("invalid_class_list", unknown.problem, place=f"{self.json}: images[{unknown.image}]")
        ids = np.asarray(annotations.ids)
        order = np.argsort(ids, kind="stable")
        again = order[1:][(ids[order[1:]] == ids[order[:-1]]) & (ids[order[1:]] >= 0)]
        for index in np.sort(again).tolist():
            self.listed.append(("repeated_annotation_id", index, f"the id {ids[index]} occurs before"))

    def _drop_segmentations(self, annotations: FaultyAnnotations, image_sizes: ImageSizes) -> None:
        """Removes segmentations that cannot be drawn: RLEs of other sizes, and those that are listed already."""
        for index, stated, expected in annotations.rles_of_other_sizes(image_sizes):
            swapped = ": the two are swapped" if stated == expected[::-1] else ""
            text = f"the RLE's size is {stated}; the image's [height, width] is {expected}{swapped}"
            self.listed.append(("rle_size", index, text))
            annotations.drop_segmentation(index)
        for index in annotations.undrawable:
            annotations.drop_segmentation(index)

    def _list_corners(self, annotations: FaultyAnnotations, image_sizes: ImageSizes) -> np.ndarray:
        """Lists boxes that are XYXY, which only all boxes together show; bool [annotations]."""
        found = np.zeros(len(annotations.kinds), bool)
        indices, boxes = annotations.boxes_without_polygons()
        if are_corners(boxes, image_sizes(indices)[:, ::-1]):
            found[indices] = np.asarray(annotations.kinds)[indices] == BOX_ONLY
            for index, box in zip(indices.tolist(), boxes.tolist(), strict=True):
                self.listed.append(("corner_boxes", index, f"the box {[round(value, 2) for value in box]}"))
        return found

    def _present_images(self) -> np.ndarray:
        """Indices of the images whose file exists; lists the others."""
        names = self.images.names
        missing = set(missing_files(self.folder, names))
        hint = suggest_files(sorted(missing), files_in(self.folder), names) if missing else ""
        for name in names:
            if name in missing:
                self._add("missing_image", f"there is no such file in {self.folder}{hint}", image=name)
                hint = ""
        return np.array([i for i, name in enumerate(names) if name not in missing], np.int64)

    def _describe_faults(self, annotations: FaultyAnnotations, image: np.ndarray, known: np.ndarray) -> None:
        """Turns the listed faults of annotations into faults with their images and ids."""
        for kind, index, text in sorted(self.listed, key=lambda fault: fault[1]):
            name = self.images.names[image[index]] if known[index] else ""
            found = annotations.ids[index]
            place = f"{self.json}: annotations[{index}]"
            self.faults.append(Fault(kind, text, self.split, name, found if found >= 0 else None, place))

    def _file_name(self, image: Any) -> str:
        """The file name of an entry of the list of images, for messages; empty if it has none."""
        image = self.extra.with_coco_keys(image)
        name = image.get("file_name") if isinstance(image, dict) else None
        return name if isinstance(name, str) else ""

    def _category_fault(self, kind: str, index: int, text: str) -> None:
        self._add(kind, text, place=f"{self.json}: categories[{index}]")

    def _add(self, kind: str, text: str, *, image: str = "", place: str = "") -> None:
        self.faults.append(Fault(kind, text, self.split, image, None, place))


def match(ids: Any, known_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of each id among the known ids, and whether it is among them."""
    searched = np.asarray(ids, np.int64)
    if len(known_ids) == 0:
        return np.zeros(len(searched), np.int32), np.zeros(len(searched), bool)
    order = np.argsort(known_ids).astype(np.int32)
    indices = order[np.searchsorted(known_ids, searched, sorter=order).clip(max=len(known_ids) - 1)]
    return indices, known_ids[indices] == searched
