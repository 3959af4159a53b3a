"""A COCO JSON as flat arrays: written once, with bounded memory, and read image by image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from segkit.data.array_cache import cached_arrays
from segkit.data.array_file import ArrayWriter
from segkit.data.formats.coco.annotations import (
    BOX_ONLY,
    COMPRESSED,
    COUNTS,
    HEAD,
    SKIPPED,
    Annotations,
)
from segkit.data.formats.coco.categories import resolve_repeated_names
from segkit.data.formats.coco.extra_columns import ExtraColumns
from segkit.data.formats.coco.images import Images
from segkit.data.formats.parsing.categories import Category, read_categories
from segkit.data.formats.parsing.json_stream import stream_mapping
from segkit.utils.errors import SegkitError

LAYOUT = "coco 4"  # increment it whenever the arrays, or the checks before them, change
DTYPES = {
    # one entry an image; ``name_end`` is where its file name ends in ``names``, ``last`` where its annotations end
    "image_id": "<i8",
    "height": "<i4",
    "width": "<i4",
    "name_end": "<i8",
    "last": "<i8",
    "names": "|u1",
    # one entry an annotation, sorted by image; its record is ``records[start:end]``. Records are in the file's order and
    # hold: box and area (HEAD), then length and coordinates of each polygon (doubles), or the RLE's counts (characters,
    # or integers of 8 bytes)
    "category": "<i4",
    "kind": "|u1",
    "crowd": "|u1",
    "start": "<i8",
    "end": "<i8",
    "records": "|u1",
}


@dataclass(frozen=True)
class ImageObjects:
    """The annotations of one image.

    Attributes:
        categories: int32 [N], indices into the file's list of categories.
        crowds: bool [N].
        boxes: float64 [N, 4] XYWH of the file, NaN for an object without a box.
        areas: float64 [N] of the file, NaN for an object without an area.
        segmentations: N polygon lists or RLE dicts, as ``InstanceMasks`` takes them; None for an object with a box only.
    """

    categories: np.ndarray
    crowds: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    segmentations: list[Any]


class CocoTable:
    """The checked content of a COCO JSON in arrays, without Python objects for annotations.

    Args:
        file: the JSON. The arrays of a large file are cached (see ``cached_arrays``).

    Attributes:
        category_ids: id of each category, by name, in the file's order.
        skipped: number of skipped objects and polygons, by reason.
        annotations: number of annotations in the file.
        lost: number of annotations that training does not learn from or gets wrong, by reason, and the first ones.
        category_notes: sentences about ignored categories.
        outside: number of objects without a mask whose box lies outside of their image.
    """

    dtypes: ClassVar[Mapping[str, str]] = DTYPES
    layout: ClassVar[str] = LAYOUT
    columns: ClassVar[type[ExtraColumns]] = ExtraColumns

    def __init__(self, file: Path) -> None:
        def write(stream: BinaryIO, origin: dict[str, Any]) -> None:
            write_table(file, stream, origin, self.columns(file))

        self.arrays = cached_arrays(file, write, self.dtypes, self.layout)
        self.category_ids: dict[str, int] = self.arrays.facts["categories"]
        self.skipped: dict[str, int] = self.arrays.facts["skipped"]
        self.annotations: int = self.arrays.facts["annotations"]
        self.lost: dict[str, tuple[int, list[str]]] = self.arrays.facts["lost"]
        self.category_notes: list[str] = self.arrays.facts["category_notes"]
        self.outside: int = self.arrays.facts["outside"]

    def __len__(self) -> int:
        return len(self.arrays["image_id"])

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an image."""
        return int(self.arrays["height"][index]), int(self.arrays["width"][index])

    def name(self, index: int) -> str:
        """File name of an image."""
        start, end = _span(self.arrays["name_end"], index)
        return self.arrays["names"][start:end].tobytes().decode("utf-8", "surrogatepass")

    def counts(self, *, crowds: bool = True) -> np.ndarray:
        """int64 [images]: number of annotations of each image, with or without crowd regions."""
        counts = np.diff(self.arrays["last"], prepend=0)
        if crowds:
            return counts
        return counts - self._counts_where(self.arrays["crowd"] != 0)

    def unmasked_counts(self, *, crowds: bool = True) -> np.ndarray:
        """int64 [images]: number of annotations with a box only, with or without crowd regions."""
        unmasked = self.arrays["kind"] == BOX_ONLY
        return self._counts_where(unmasked if crowds else unmasked & (self.arrays["crowd"] == 0))

    def counts_of(self, categories: np.ndarray, *, unmasked: bool) -> np.ndarray:
        """int64 [images]: number of annotations of some categories, without crowd regions.

        Args:
            categories: bool, whether each of the file's categories is counted.
            unmasked: count annotations with a box only.
        """
        chosen = categories[self.arrays["category"]] & (self.arrays["crowd"] == 0)
        return self._counts_where(chosen & (self.arrays["kind"] == BOX_ONLY) if unmasked else chosen)

    def _counts_where(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [images]: number of chosen annotations of each image.

        ``chosen`` is bool [annotations].
        """
        indices = np.flatnonzero(chosen)  # few, so that no integer array of the table's length is allocated
        images = np.searchsorted(self.arrays["last"], indices, side="right")
        return np.bincount(images, minlength=len(self))

    def categories(self, index: int) -> np.ndarray:
        """int32 [N]: category of each annotation of an image, as an index into the file's list."""
        start, end = _span(self.arrays["last"], index)
        return self.arrays["category"][start:end]

    def has_masks(self, index: int) -> bool:
        """Whether an annotation of an image has a segmentation."""
        return bool((self.arrays["kind"][slice(*_span(self.arrays["last"], index))] != BOX_ONLY).any())

    def objects(self, index: int, chosen: np.ndarray | None = None) -> ImageObjects:
        """The annotations of an image, in the file's order.

        Args:
            index: of the image.
            chosen: indices of the annotations among those of the image; None: all.
        """
        first, last = _span(self.arrays["last"], index)
        rows = slice(first, last) if chosen is None else first + chosen
        records, size = self.arrays["records"], list(self.size(index))
        heads, segmentations = [], []
        spans = zip(self.arrays["start"][rows].tolist(), self.arrays["end"][rows].tolist(), strict=True)
        for kind, (start, end) in zip(self.arrays["kind"][rows].tolist(), spans, strict=True):
            record = records[start:end].tobytes()
            heads.append(HEAD.unpack_from(record))
            segmentations.append(_segmentation(kind, record[HEAD.size :], size))
        boxes_and_areas = np.array(heads).reshape(-1, 5)
        crowds = self.arrays["crowd"][rows] != 0
        return ImageObjects(
            self.arrays["category"][rows], crowds, boxes_and_areas[:, :4], boxes_and_areas[:, 4], segmentations
        )


def _span(ends: np.ndarray, index: int) -> tuple[int, int]:
    """Start and end of an image's entries, from the ends of all images."""
    if not 0 <= index < len(ends):
        raise IndexError(index)
    return int(ends[index - 1]) if index else 0, int(ends[index])


def _segmentation(kind: int, body: bytes, size: list[int]) -> Any:
    """Unpacks a segmentation from a record."""
    if kind == BOX_ONLY:
        return None
    if kind == COMPRESSED:
        return {"size": size, "counts": body}
    if kind == COUNTS:
        return {"size": size, "counts": np.frombuffer(body, "<i8")}
    return list(_polygons(np.frombuffer(body, "<f8")))


def _polygons(packed: np.ndarray) -> Iterator[np.ndarray]:
    """Unpacks polygons, each stored as its length and its coordinates."""
    start = 0
    while start < len(packed):
        end = start + 1 + int(packed[start])
        yield packed[start + 1 : end]
        start = end


def write_table(file: Path, stream: BinaryIO, origin: dict[str, Any], columns: ExtraColumns) -> None:
    """Streams a COCO JSON, checks it, and writes its arrays.

    The keys of the file may be in any order.

    Args:
        file: the JSON.
        stream: where the arrays are written.
        origin: stored with the arrays (see ``cached_arrays``).
        columns: collects what the table has beside COCO's keys.
    Raises:
        SegkitError: an invalid entry, named by its list and index.
    """
    writer = ArrayWriter(stream)
    annotations = Annotations(file, writer.begin("records", DTYPES["records"]))
    images: Images | None = None
    categories: list[Category] | None = None
    lists, keys = set(), []
    for key, items in stream_mapping(file):
        keys.append(key)
        if items is None:
            continue
        lists.add(key)
        if key == "images":
            images = Images(file, _image_entries(items, columns))
        elif key == "categories":
            categories = read_categories(file, _category_entries(items, columns))
        elif key == "annotations":
            annotations.read(items)
    for key in ("images", "annotations", "categories"):
        if key not in lists:
            found = f"its keys are {', '.join(keys[:8])}"
            problem = f"is not in the COCO format: there is no list '{key}' ({found}){annotations.other_task}"
            raise SegkitError(f"{file}: {problem}", value=str(file))
    assert images is not None and categories is not None
    image, category = annotations.resolve_ids(images, categories)
    annotation_counts = np.bincount(category, minlength=len(categories)).tolist()
    kept_categories, category_notes = resolve_repeated_names(file, categories, annotation_counts)
    if len(kept_categories) < len(categories):  # all categories with annotations are kept
        category = np.searchsorted(kept_categories, category).astype(np.int32)
    kinds, ends = np.asarray(annotations.kinds), np.asarray(annotations.ends)
    kept = np.flatnonzero(kinds != SKIPPED)
    kept = kept[np.argsort(image[kept], kind="stable")]
    writer.add("image_id", np.asarray(images.ids), DTYPES["image_id"])
    writer.add("height", np.asarray(images.heights), DTYPES["height"])
    writer.add("width", np.asarray(images.widths), DTYPES["width"])
    writer.add("name_end", np.asarray(images.name_ends), DTYPES["name_end"])
    writer.add("names", np.asarray(images.names), DTYPES["names"])
    # One column at a time: all of them together would double the memory.
    writer.add("last", np.bincount(image[kept], minlength=len(images.ids)).cumsum(), DTYPES["last"])
    writer.add("category", category[kept], DTYPES["category"])
    writer.add("kind", kinds[kept], DTYPES["kind"])
    writer.add("crowd", np.asarray(annotations.crowds)[kept], DTYPES["crowd"])
    writer.add("end", ends[kept], DTYPES["end"])
    writer.add("start", np.append(0, ends[:-1])[kept] if len(kept) else ends, DTYPES["start"])
    facts = {
        **columns.finish(writer, [category.id for category in categories], kept_categories),
        "origin": origin,
        "categories": {categories[index].name: categories[index].id for index in kept_categories},
        "category_notes": category_notes,
        "skipped": annotations.skipped,
        "annotations": len(kinds),
        "outside": annotations.check_boxes(image, images),
        "lost": {
            reason: (count, _describe(examples, image, images))
            for reason, (count, examples) in annotations.lost.items()
        },
    }
    writer.finish(facts)


def _image_entries(items: Iterable[Any], columns: ExtraColumns) -> Iterator[Any]:
    for index, image in enumerate(items):
        columns.add_image(index, image)
        yield columns.with_coco_keys(image)


def _category_entries(items: Iterable[Any], columns: ExtraColumns) -> Iterator[Any]:
    for index, category in enumerate(items):
        columns.add_category(index, category)
        yield category


def _describe(examples: list[tuple[int, Any]], image: np.ndarray, images: Images) -> list[str]:
    """Annotations as messages name them, by list index, id and file name of the image."""
    names, ends = images.names, images.name_ends
    described = []
    for index, annotation_id in examples:
        image_index = int(image[index])
        name = names[ends[image_index - 1] if image_index else 0 : ends[image_index]].decode("utf-8", "replace")
        id_text = f"id {str(annotation_id)[:40]}, " if isinstance(annotation_id, int | str) else ""
        described.append(f"annotations[{index}] ({id_text}image '{name}')")
    return described
