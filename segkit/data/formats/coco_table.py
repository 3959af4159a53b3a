"""A COCO JSON as flat arrays: written once, in bounded memory, and read image by image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segkit.data.array_cache import cached_arrays
from segkit.data.array_file import ArrayWriter
from segkit.data.formats.coco_annotations import (
    BOX_ONLY,
    COMPRESSED,
    COUNTS,
    HEAD,
    LEFT_OUT,
    Annotations,
)
from segkit.data.formats.coco_images import Category, Images, read_categories, settle_names
from segkit.data.formats.json_stream import stream_mapping
from segkit.utils.errors import SegkitError

LAYOUT = "coco 4"  # to be counted up whenever the arrays, or the checks before them, change
DTYPES = {
    # one an image; ``name_end`` is where its file name ends in ``names``, ``last`` where its annotations end
    "image_id": "<i8",
    "height": "<i4",
    "width": "<i4",
    "name_end": "<i8",
    "last": "<i8",
    "names": "|u1",
    # one an annotation, sorted by image; ``start`` and ``end`` are the place of its record in ``records``, which are in
    # the file's order: box, area (HEAD), then each polygon's length and coordinates (doubles), or the RLE's counts
    # (characters, or integers of 8 bytes)
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
        categories: int [N], places in the file's list of categories.
        crowds: bool [N].
        boxes: float64 [N, 4] XYWH as the file has them, NaN where it has none.
        areas: float64 [N], likewise.
        segmentations: polygons (a list) or an RLE (a dict) each, as ``InstanceMasks`` takes them; None: a box only.
    """

    categories: np.ndarray
    crowds: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    segmentations: list[Any]


class CocoTable:
    """What a COCO JSON holds, checked; no Python object an image or annotation is kept.

    Args:
        file: the JSON. A large one is read once; then its arrays are in the cache (see ``cached_arrays``).

    Attributes:
        category_ids: id of each category name, in the file's order.
        skipped: how many objects and polygons were left out, by reason.
        annotations: how many the file lists.
        lost: how many of them training gets nothing from, by reason, and the first ones.
        category_notes: what was odd about the categories.
        outside: how many objects without a mask have a box outside of their image.
    """

    def __init__(self, file: Path) -> None:
        self.arrays = cached_arrays(file, lambda stream, origin: write_table(file, stream, origin), DTYPES, LAYOUT)
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
        start, end = _stretch(self.arrays["name_end"], index)
        return self.arrays["names"][start:end].tobytes().decode("utf-8", "surrogatepass")

    def counts(self, *, crowds: bool = True) -> np.ndarray:
        """int64 [images]: how many annotations each has, with or without crowd regions."""
        counts = np.diff(self.arrays["last"], prepend=0)
        if crowds:
            return counts
        return counts - self._counts_where(self.arrays["crowd"] != 0)

    def unmasked_counts(self, *, crowds: bool = True) -> np.ndarray:
        """int64 [images]: how many annotations of each have a box only, with or without crowd regions."""
        unmasked = self.arrays["kind"] == BOX_ONLY
        return self._counts_where(unmasked if crowds else unmasked & (self.arrays["crowd"] == 0))

    def _counts_where(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [images]: how many annotations of each are chosen (bool, one an annotation)."""
        places = np.flatnonzero(chosen)  # nothing of the table's length but bytes is made where these are few
        images = np.searchsorted(self.arrays["last"], places, side="right")
        return np.bincount(images, minlength=len(self))

    def categories(self, index: int) -> np.ndarray:
        """int32: the category of each annotation of an image."""
        start, end = _stretch(self.arrays["last"], index)
        return self.arrays["category"][start:end]

    def objects(self, index: int) -> ImageObjects:
        """All annotations of an image, in the file's order."""
        rows = slice(*_stretch(self.arrays["last"], index))
        records, size = self.arrays["records"], list(self.size(index))
        heads, segmentations = [], []
        places = zip(self.arrays["start"][rows].tolist(), self.arrays["end"][rows].tolist(), strict=True)
        for kind, (start, end) in zip(self.arrays["kind"][rows].tolist(), places, strict=True):
            record = records[start:end].tobytes()
            heads.append(HEAD.unpack_from(record))
            segmentations.append(_segmentation(kind, record[HEAD.size :], size))
        numbers = np.array(heads).reshape(-1, 5)
        crowds = self.arrays["crowd"][rows] != 0
        return ImageObjects(self.categories(index), crowds, numbers[:, :4], numbers[:, 4], segmentations)


def _stretch(ends: np.ndarray, index: int) -> tuple[int, int]:
    if not 0 <= index < len(ends):
        raise IndexError(index)
    return int(ends[index - 1]) if index else 0, int(ends[index])


def _segmentation(kind: int, body: bytes, size: list[int]) -> Any:
    if kind == BOX_ONLY:
        return None
    if kind == COMPRESSED:
        return {"size": size, "counts": body}
    if kind == COUNTS:
        return {"size": size, "counts": np.frombuffer(body, "<i8")}
    return list(_polygons(np.frombuffer(body, "<f8")))


def _polygons(numbers: np.ndarray) -> Iterator[np.ndarray]:
    at = 0
    while at < len(numbers):
        end = at + 1 + int(numbers[at])
        yield numbers[at + 1 : end]
        at = end


def write_table(file: Path, stream: BinaryIO, origin: dict[str, Any]) -> None:
    """Read a COCO JSON piece by piece, whatever the order of its keys, check it, and write its arrays.

    Raises:
        SegkitError: what is wrong, with list and index.
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
            images = Images(file, items)
        elif key == "categories":
            categories = read_categories(file, items)
        elif key == "annotations":
            annotations.read(items)
    for key in ("images", "annotations", "categories"):
        if key not in lists:
            have = f"its keys are {', '.join(keys[:8])}"
            problem = f"is not in the COCO format: there is no list '{key}' ({have}){annotations.other_task}"
            raise SegkitError(f"{file}: {problem}", value=str(file))
    assert images is not None and categories is not None
    image, category = annotations.places(images, categories)
    used = np.bincount(category, minlength=len(categories)).tolist()
    stay, category_notes = settle_names(file, categories, used)
    if len(stay) < len(categories):
        category = np.searchsorted(stay, category).astype(np.int32)  # all categories with annotations stay
    kinds, ends = np.asarray(annotations.kinds), np.asarray(annotations.ends)
    kept = np.flatnonzero(kinds != LEFT_OUT)
    kept = kept[np.argsort(image[kept], kind="stable")]
    writer.add("image_id", np.asarray(images.ids), DTYPES["image_id"])
    writer.add("height", np.asarray(images.heights), DTYPES["height"])
    writer.add("width", np.asarray(images.widths), DTYPES["width"])
    writer.add("name_end", np.asarray(images.name_ends), DTYPES["name_end"])
    writer.add("names", np.asarray(images.names), DTYPES["names"])
    # One after the other: together these columns would take as much again as what is there already.
    writer.add("last", np.bincount(image[kept], minlength=len(images.ids)).cumsum(), DTYPES["last"])
    writer.add("category", category[kept], DTYPES["category"])
    writer.add("kind", kinds[kept], DTYPES["kind"])
    writer.add("crowd", np.asarray(annotations.crowds)[kept], DTYPES["crowd"])
    writer.add("end", ends[kept], DTYPES["end"])
    writer.add("start", np.append(0, ends[:-1])[kept] if len(kept) else ends, DTYPES["start"])
    facts = {
        "origin": origin,
        "categories": {categories[place].name: categories[place].id for place in stay},
        "category_notes": category_notes,
        "skipped": annotations.skipped,
        "annotations": len(kinds),
        "outside": annotations.check_boxes(image, images),
        "lost": {reason: (count, _told(places, image, images)) for reason, (count, places) in annotations.lost.items()},
    }
    writer.finish(facts)


def _told(places: list[tuple[int, Any]], image: np.ndarray, images: Images) -> list[str]:
    """Annotations by list index, id and image, for messages."""
    names, ends = images.names, images.name_ends
    told = []
    for number, annotation_id in places:
        index = int(image[number])
        name = names[ends[index - 1] if index else 0 : ends[index]].decode("utf-8", "replace")
        called = f"id {str(annotation_id)[:40]}, " if isinstance(annotation_id, int | str) else ""
        told.append(f"annotations[{number}] ({called}image '{name}')")
    return told
