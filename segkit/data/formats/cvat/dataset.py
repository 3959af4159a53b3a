"""The format "CVAT for images 1.1": one XML file for all images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from segkit.data.formats.cvat.shapes import read_shapes
from segkit.data.formats.parsed import ImageAnnotation, ParsedDataset, class_names, relative_name
from segkit.data.formats.parsing.file_errors import parse_each, skip_missing
from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.data.formats.parsing.shapes import group_shapes
from segkit.data.formats.recognition import Recognition
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import IMAGE_SUFFIXES
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import leads_out
from segkit.utils.xml_reader import Element, root_tag, stream_xml

FILE = "annotations.xml"
RIGHT_EXPORT = 'export the task again as "CVAT for images 1.1"'
MAX_SIDE = 10**6
MAX_SEARCHED = 1000  # images whose subsets are looked at to recognise a file


@dataclass
class CvatMeta:
    """The labels that a ``<meta>`` states, in their order, and the subset of each task."""

    labels: list[str] = field(default_factory=list)
    subsets: dict[str, str] = field(default_factory=dict)


@DATASET_FORMAT_REGISTRY.register(name="cvat")
class Cvat(ParsedDataset):
    """An export of CVAT for images: polygons, masks, ellipses and boxes of an XML file.

    Coordinates are CVAT's, continuous in pixels. Shapes of one label and one ``group_id`` (not 0) in an image are one
    object. A turned box becomes the box around it. Polylines, points, cuboids and skeletons are no objects and are counted;
    tags of images are ignored. Tracks of videos are an error that names the right export. Images are looked for as
    ``images/NAME``, ``images/SUBSET/NAME`` and ``NAME``; zip files have to be unpacked.

    hotcoco's ``from_cvat`` is not used: it knows no masks, ellipses, turned boxes, groups and subsets.

    Args:
        xml: the XML file, or the folder that holds ``annotations.xml``.
        images: the folder of the images; by default ``images`` beside the file, or the file's folder.
        split: a subset, as ``Train``; by default all images.
        classes: class names in the order of the labels; by default the labels of the file in their order.
        boxes: whether a box is an object without a ``mask`` (``box``), or its own mask (``mask``).
    """

    def __init__(
        self,
        *,
        xml: str,
        images: str | None = None,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        boxes: Literal["box", "mask"] = "box",
    ) -> None:
        if boxes not in ("box", "mask"):
            raise SegkitError(f"cvat: 'boxes' is {boxes!r}; expected box or mask", key="boxes", value=boxes)
        self.file = _find_file(local_path(xml, "CVAT export")).absolute()
        self.folder = local_path(images, "folder of images", kind="folder").absolute() if images else None
        self._boxes: Literal["box", "mask"] = boxes
        self._unlabelled = 0
        lost, meta, subsets = LostCounter(), CvatMeta(), Counter[str]()
        finder = ImageFinder(self.file, self.folder)
        found = PackedList(self._parse(meta, subsets, split, lost, finder))
        if split is not None and split not in subsets:
            hint = did_you_mean(split, subsets) if subsets else "; the file has no subsets"
            raise SegkitError(f"{self.file}: there is no subset '{split}'{hint}", key="split", value=split)
        if not len(found):
            raise SegkitError(f"{self.file}: lists no images", value=xml)
        if finder.check():
            found = PackedList(image for image in found if image.file)
        used = class_names(o for image in found for o in image.objects)
        names = meta.labels + [name for name in used if name not in meta.labels] if classes is None else used
        where = f"CVAT export {self.file}" + (f", subset '{split}'" if split else "")
        super().__init__(found, names, classes, where=where, lost=lost.lost_objects())

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        file = path / FILE if path.is_dir() else path
        if not file.is_file() or file.suffix.lower() != ".xml" or root_tag(file) != "annotations":
            return None
        meta, subsets = CvatMeta(), set()
        try:
            for count, element in enumerate(stream_xml(file, "annotations")):
                if element.tag == "meta":
                    read_meta(element, meta)
                    subsets |= set(meta.subsets.values())
                elif element.tag == "image":
                    if "subset" not in element.attributes or count > MAX_SEARCHED:
                        break
                    subsets.add(element.attributes["subset"])
        except SegkitError:
            return None
        spec: dict[str, Any] = {"format": "cvat", "xml": str(path.absolute())}
        splits = {name: {**spec, "split": name} for name in sorted(subsets) if name}
        first = next((name for name in splits if name.lower() == "train"), None)
        reason = f"{file.name} with {len(meta.labels)} labels of CVAT"
        return Recognition(splits[first] if first else spec, reason, splits if len(splits) > 1 else {})

    def notes(self) -> list[str]:
        return [f"{self._unlabelled} images have no shapes"] if self._unlabelled else []

    def _parse(
        self, meta: CvatMeta, subsets: Counter[str], split: str | None, lost: LostCounter, finder: ImageFinder
    ) -> Iterator[ImageAnnotation]:
        """Reads the file; adds its labels and subsets to ``meta`` and ``subsets``."""
        name, version = self.file.name, None
        for element in stream_xml(self.file, "annotations", name):
            if element.tag == "version":
                version = element.text
            elif element.tag == "meta":
                read_meta(element, meta)
            elif element.tag == "track":
                raise SegkitError(
                    f"{name}:{element.line}: holds tracks of a video, interpolated between frames; {RIGHT_EXPORT}"
                )
            elif element.tag == "image":
                subset = element.attributes.get("subset") or meta.subsets.get(element.attributes.get("task_id", ""), "")
                if subset:
                    subsets[subset] += 1
                if split is None or subset == split:
                    yield from parse_each(
                        [element],
                        partial(self._image, name=name, meta=meta, subset=subset, lost=lost, finder=finder),
                        lambda element: f"{self.file}:{element.line}",
                    )
        if version is not None and not version.startswith("1."):
            raise SegkitError(f"{name}: is of version {version[:20]}; expected 1.1; {RIGHT_EXPORT}")

    def _image(
        self, element: Element, name: str, meta: CvatMeta, subset: str, lost: LostCounter, finder: ImageFinder
    ) -> ImageAnnotation:
        place, attributes = f"{name}:{element.line}", element.attributes
        file = attributes.get("name", "").replace("\\", "/")
        if not file.strip() or "\0" in file:
            raise SegkitError(f"{place}: the image has no name")
        if leads_out(file) or (subset and leads_out(subset)):
            raise SegkitError(f"{place}: the name '{file[:200]}' leads out of the folder of images")
        height, width = (_side(attributes.get(key), key, place) for key in ("height", "width"))
        shapes = read_shapes(element, name, (height, width), lost)
        unknown = next((s.label for s in shapes if meta.labels and s.label not in meta.labels), None)
        if unknown is not None:
            raise SegkitError(
                f"{place}: the label '{unknown}' of the image '{file}' is not in <meta>{did_you_mean(unknown, meta.labels)}"
            )
        try:
            objects = group_shapes(shapes, (height, width), self._boxes)
        except SegkitError as error:
            raise SegkitError(f"{place}: {error}") from error
        self._unlabelled += not objects
        path, shown = finder.find(file, subset)
        return ImageAnnotation(path, shown, (height, width), objects, place)


class ImageFinder:
    """Finds the images of a file in ``images``, its subsets, and beside the file.

    Args:
        file: the XML file.
        folder: of the images; None: looked for.
    Attributes:
        missing: names that were not found.
    """

    def __init__(self, file: Path, folder: Path | None) -> None:
        self.file, self.missing = file, list[str]()
        folders = [folder] if folder else [file.parent / "images", file.parent]
        self._folders = [path for path in folders if path.is_dir()]
        self._listings: dict[Path, dict[str, str]] = {}

    def find(self, name: str, subset: str) -> tuple[str, str]:
        """The path of an image and its name in messages; an empty path if it is missing."""
        names = [name, f"{subset}/{name}"] if subset else [name]
        for path in (folder / part for folder in self._folders for part in names):
            file = self._existing(path)
            if file is not None:
                return str(file), relative_name(file, self._folders[0])
        self.missing.append(name)
        return "", name

    def check(self) -> bool:
        """Whether images are missing; a SegkitError if so and errors are not collected."""
        if self.missing:
            skip_missing(self._folders[0], self.missing, f"missing images of {self.file.name}")
        return bool(self.missing)

    def _existing(self, path: Path) -> Path | None:
        """The file of an image; None if there is none.

        CVAT names the frames of a video without a suffix.
        """
        if path.parent not in self._listings:
            try:
                names = sorted(os.listdir(path.parent))
            except OSError:
                names = []
            listing = {name: name for name in names}
            for name in names:
                if name.lower().endswith(IMAGE_SUFFIXES):
                    listing.setdefault(name.rpartition(".")[0], name)
            self._listings[path.parent] = listing
        found = self._listings[path.parent].get(path.name)
        return path.with_name(found) if found is not None else None


def read_meta(element: Element, meta: CvatMeta) -> None:
    """Adds the labels and subsets of a ``<meta>``, without the parts of skeletons."""
    for kind in element.children:
        for label in (kind.find("labels") or kind).all("label"):
            name = label.find_text("name")
            if name is not None and label.find_text("parent") is None and name not in meta.labels:
                meta.labels.append(name)
        tasks = [kind] if kind.tag == "task" else (kind.find("tasks") or kind).all("task")
        for task in tasks:
            task_id, subset = task.find_text("id"), task.find_text("subset")
            if task_id is not None and subset is not None:
                meta.subsets[task_id] = subset


def _find_file(path: Path) -> Path:
    if path.suffix.lower() == ".zip":
        raise SegkitError(f"{path}: is a zip file; unpack it, and give the folder", value=str(path))
    if path.is_file():
        return path
    if (path / FILE).is_file():
        return path / FILE
    raise SegkitError(f"{path}: holds no {FILE}; {RIGHT_EXPORT} and unpack the zip file", value=str(path))


def _side(text: str | None, key: str, place: str) -> int:
    value = int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 0 < value <= MAX_SIDE:
        raise SegkitError(f"{place}: '{key}' of the image is {text[:40] if text else 'missing'}; expected its pixels")
    return value
