"""COCO's panoptic format: a JSON of segments, and a PNG of their ids for each image."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit.data.formats.coco.categories import match_classes
from segkit.data.formats.id_map import ImageEntry, check_size, load_id_map
from segkit.data.formats.label_map_file import check_label_map, color_codes
from segkit.data.formats.parsing.categories import read_categories
from segkit.data.formats.parsing.file_errors import parse_each, skip_missing
from segkit.data.formats.parsing.json_stream import stream_list
from segkit.data.formats.parsing.json_values import as_integer, mappings, not_integer_message, shown
from segkit.data.formats.pixel_dataset import PixelDataset
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.split_names import split_word
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.label_maps import cut_labels
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, first_few
from segkit.utils.images import read_pixels
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import leads_out

MAX_ID = 1 << 24  # ids are three bytes: R + 256 G + 65536 B
CERTAINTY = 0.85  # below COCO's: a download has the objects and the panoptic segments of the same images


class Segment(NamedTuple):
    """An object of an image: its id in the PNG, its category, and whether it is a crowd region."""

    id: int
    category: int
    crowd: bool


@dataclass(frozen=True)
class PanopticImage:
    """An image, its PNG of ids, its things, and the ids of its other segments."""

    entry: ImageEntry
    masks: str
    things: list[Segment]
    stuff: list[int] = field(default_factory=list)


@DATASET_FORMAT_REGISTRY.register(name="coco_panoptic")
class CocoPanoptic(PixelDataset):
    """The things of a COCO panoptic data set; stuff is background.

    A PNG's pixel belongs to the segment with the id R + 256 G + 65536 B. Segments with ``iscrowd`` are crowd regions.
    Segments of the JSON without a pixel in the PNG are dropped on reading, and counted there.

    Args:
        json: the annotation file, with ``images``, ``annotations`` of ``segments_info``, and ``categories`` of ``isthing``.
        images: the folder of the images.
        masks: the folder of the PNGs; by default the one beside the JSON with its name.
        classes: names in the order of the labels; by default the categories of things by ascending id.
        category_ids: the id of each class, if the file has no category of a class.
    Raises:
        SegkitError: the JSON is invalid, a file is missing, or an id or a name of the JSON is.
    """

    exclusive = True
    expected = "a JSON with segments_info, and beside it a folder of its name with PNGs"

    def __init__(
        self,
        *,
        json: str,
        images: str,
        masks: str | None = None,
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        self.file = local_path(json, "COCO panoptic file", kind="file")
        self.folder = local_path(images, "folder of images", kind="folder")
        self.masks = local_path(masks or str(self.file.with_suffix("")), "folder of panoptic PNGs", kind="folder")
        things, stuff = self._categories()
        names, ids, _ = match_classes(self.file, things, None if classes is None else list(classes))
        self._label_of = {things[name]: label for label, name in enumerate(names) if name in things}
        self._images = PackedList(self._read_images(stuff))
        image_files = [image.entry.file_name for image in self._images]
        without_image = skip_missing(self.folder, image_files, f"images of {self.file}")
        without_masks = skip_missing(self.masks, [image.masks for image in self._images], f"PNGs of {self.file}")
        if without_image or without_masks:
            self._images = PackedList(
                image
                for image in self._images
                if image.entry.file_name not in without_image and image.masks not in without_masks
            )
        image_ids = [image.entry.image_id for image in self._images]
        where = f"COCO panoptic data set {self.file}"
        super().__init__(
            len(self._images), names, ids if category_ids is None else list(category_ids), where, image_ids
        )

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        files = (
            [path]
            if path.is_file()
            else sorted([*path.glob("panoptic*.json"), *path.glob("annotations/panoptic*.json")])
        )
        splits: dict[str, dict[str, Any]] = {}
        for file in files:
            if file.suffix.lower() != ".json" or not file.with_suffix("").is_dir() or not _is_panoptic(file):
                continue
            name = file.stem.removeprefix("panoptic_")
            tops = [file.parent, file.parent.parent]
            folder = next(
                (top / inner for top in tops for inner in (name, f"images/{name}", "images") if (top / inner).is_dir()),
                None,
            )
            if folder is not None:
                splits[name] = {
                    "format": "coco_panoptic",
                    "json": str(file.absolute()),
                    "images": str(folder.absolute()),
                }
        if not splits:
            return None
        words = {name: split_word(name) or name for name in splits}
        if len(set(words.values())) == len(words):  # train for train2017, as in COCO's other files
            splits = {words[name]: spec for name, spec in splits.items()}
        ordered = dict(sorted(splits.items(), key=lambda item: not item[0].startswith("train")))
        reason = f"{first_few([Path(spec['json']).name for spec in ordered.values()], 3)} with segments_info and PNGs"
        return Recognition(next(iter(ordered.values())), reason, ordered if len(ordered) > 1 else {}, CERTAINTY)

    def image_file(self, index: int) -> Path:
        return self.folder / self._images[index].entry.file_name

    def name(self, index: int) -> str:
        return self._images[index].entry.file_name

    def load(self, index: int) -> Sample:
        sample = super().load(index)
        check_size(self.image_file(index), sample.size, self._images[index].entry.size, str(self.file))
        return sample

    def read_targets(self, index: int, size: tuple[int, int]) -> Targets:
        image = self._images[index]
        path = self.masks / image.masks
        ids = check_label_map(color_codes(read_pixels(path), path), path, size)
        values, bits, crop_boxes = cut_labels(ids, np.array([thing.id for thing in image.things], np.int64))
        unknown = np.setdiff1d(ids, [0, *(thing.id for thing in image.things), *image.stuff])
        if len(unknown):
            raise SegkitError(f"{path}: has pixels of the id {unknown[0]}, which the segments_info of {self.file} lack")
        found = InstanceMasks(bits, crop_boxes, size)
        position = {int(value): i for i, value in enumerate(values)}
        # The objects keep the JSON's order; those without a pixel have an empty mask.
        order = [position.get(thing.id, len(values)) for thing in image.things]
        masks = InstanceMasks.cat([found, InstanceMasks.empty(size, 1)])[order]
        labels = torch.tensor([self._label_of[thing.category] for thing in image.things], dtype=torch.int64)
        crowd = torch.tensor([thing.crowd for thing in image.things], dtype=torch.bool)
        return Targets(masks.boxes(), labels, masks, crowd)

    def count_labels(self, index: int) -> np.ndarray:
        labels = [self._label_of[thing.category] for thing in self._images[index].things]
        return np.bincount(np.array(labels, np.int64), minlength=len(self.classes)).astype(np.int32)

    def object_counts(self) -> np.ndarray:
        return np.array([sum(not thing.crowd for thing in image.things) for image in self._images], np.int64)

    def notes(self) -> list[str]:
        objects = int(self.object_counts().sum())
        crowds = sum(thing.crowd for image in self._images for thing in image.things)
        return [f"{objects + crowds:,} things, {crowds:,} of them crowd regions; stuff is background"]

    def _categories(self) -> tuple[dict[str, int], set[int]]:
        """The ids of the things by name, and the ids of stuff."""
        try:
            items = list(mappings(self.file, "categories", stream_list(self.file, "categories", named=True)))
        except LookupError:
            raise SegkitError(f"{self.file}: has no list 'categories'", key="json") from None
        things: dict[str, int] = {}
        stuff: set[int] = set()
        for category, item in zip(read_categories(self.file, items), items, strict=True):
            if item.get("isthing") not in (0, 1):
                raise SegkitError(
                    f"{self.file}: the category '{category.name}': 'isthing' is {shown(item.get('isthing'))}; expected 0 or 1"
                )
            if not item["isthing"]:
                stuff.add(category.id)
            elif category.name in things:
                raise SegkitError(f"{self.file}: two categories have the name '{category.name}'")
            else:
                things[category.name] = category.id
        return things, stuff

    def _read_images(self, stuff: set[int]) -> Iterator[PanopticImage]:
        """The images in the file's order, each with its segments."""
        entries = {entry.image_id: entry for entry in load_id_map(str(self.file))}
        seen: set[int] = set()

        def read(indexed: tuple[int, dict[str, Any]]) -> PanopticImage:
            index, item = indexed
            where = f"{self.file}: annotations[{index}]"
            image_id = as_integer(item.get("image_id"))
            if image_id is None or image_id not in entries:
                raise SegkitError(f"{where}: no image has the image_id {shown(item.get('image_id'))}")
            if image_id in seen:
                raise SegkitError(f"{where}: the image {image_id} has another annotation already")
            seen.add(image_id)
            return self._image(entries[image_id], item, stuff, where)

        try:
            items = mappings(self.file, "annotations", stream_list(self.file, "annotations", named=True))
            yield from parse_each(enumerate(items), read, lambda item: f"{self.file}: annotations[{item[0]}]")
        except LookupError:
            raise SegkitError(f"{self.file}: has no list 'annotations'", key="json") from None
        list(parse_each([self.file], lambda file: check_annotated(file, entries.values(), seen)))

    def _image(self, entry: ImageEntry, item: dict[str, Any], stuff: set[int], where: str) -> PanopticImage:
        """One entry of the list ``annotations``, checked."""
        masks, segments = item.get("file_name"), item.get("segments_info")
        for name in (masks, entry.file_name):
            if not isinstance(name, str) or not name or "\0" in name or leads_out(name):
                raise SegkitError(f"{where}: the file name {shown(name)} is not one within the folder")
        if not isinstance(segments, list):
            raise SegkitError(f"{where}: 'segments_info' is {shown(segments)}; expected a list")
        things: list[Segment] = []
        others: list[int] = []
        ids: set[int] = set()
        for position, segment in enumerate(mappings(self.file, f"annotations of '{masks}': segments_info", segments)):
            at = f"{where}: segments_info[{position}]"
            segment_id, category = as_integer(segment.get("id")), as_integer(segment.get("category_id"))
            if segment_id is None or not 0 < segment_id < MAX_ID:
                problem = not_integer_message(segment, "id") if segment_id is None else f"'id' is {segment_id}"
                raise SegkitError(f"{at}: {problem}; the ids of a PNG are 1 to {MAX_ID - 1}")
            if segment_id in ids:
                raise SegkitError(f"{at}: repeats the id {segment_id}")
            ids.add(segment_id)
            if category in self._label_of:
                things.append(Segment(segment_id, category, segment.get("iscrowd") in (1, True)))
            elif category in stuff:
                others.append(segment_id)
            else:
                raise SegkitError(f"{at}: no category has the id {shown(segment.get('category_id'))}")
        return PanopticImage(entry, str(masks), things, others)


def check_annotated(file: Path, entries: Collection[ImageEntry], annotated: Collection[int]) -> None:
    """Raises a SegkitError if images of a file have no annotation.

    Args:
        file: for the message.
        entries: the images.
        annotated: ids of those that have one.
    """
    missing = [entry.file_name for entry in entries if entry.image_id not in annotated]
    if missing:
        raise SegkitError(f"{file}: {len(missing)} of {len(entries)} images have no annotation, as '{missing[0]}'")


def _is_panoptic(file: Path) -> bool:
    """Whether the first annotation of a JSON has segments."""
    try:
        first = next(iter(stream_list(file, "annotations", named=True)), None)
    except (SegkitError, LookupError):
        return False
    return isinstance(first, dict) and "segments_info" in first
