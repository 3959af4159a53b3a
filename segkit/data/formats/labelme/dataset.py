"""The LabelMe format: a JSON file of shapes for each image."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from segkit.data.formats.labelme.shapes import read_shape
from segkit.data.formats.parsed import ImageAnnotation, ParsedDataset, class_names, relative_name
from segkit.data.formats.parsing.file_errors import parse_each
from segkit.data.formats.parsing.json_values import as_integer, read_json, read_json_mapping, shown
from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.data.formats.parsing.shapes import Shape, group_shapes
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.split_names import SPLIT_FOLDERS
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError, first_few
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import files_in, leads_out, suggest_files

MAX_SIDE = 10**6
LOOKED_AT = 20  # JSON files that recognition opens: others may lie beside those of LabelMe
HEAD = 1 << 20  # bytes of a file in which LabelMe's keys are looked for
# By their first bytes, for images inside of JSON files.
SIGNATURES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"BM": ".bmp"}


@DATASET_FORMAT_REGISTRY.register(name="labelme")
class LabelMe(ParsedDataset):
    """JSON files of LabelMe (5 and later), one an image, in a folder and its subfolders.

    Polygons, oriented rectangles, circles and masks are objects with masks. Shapes of one label and one ``group_id`` in an
    image are one object. Lines, points and line strips are no objects and are counted. ``imagePath`` is relative to the
    JSON file, or to ``images``, with ``/`` or ``\\``; the file of the same name beside the JSON file is used if there is no
    such file, then ``imageData``, the image inside of the JSON file. Images without a JSON file are not used, since they
    may not have been looked at.

    A mask of LabelMe fills the box of its two corners, both inclusive. Other coordinates are continuous: a rectangle from
    10 to 20 covers the pixels 10 to 19, and LabelMe's own export, which draws outlines, covers pixel 20 as well.

    Args:
        root: the folder of the JSON files, or one JSON file.
        images: the folder that ``imagePath`` is relative to, if it is another one.
        classes: class names in the order of the labels; by default all labels, sorted.
        rectangles: whether a rectangle is an object without a mask (``box``), or its own mask (``mask``).
    """

    def __init__(
        self,
        *,
        root: str,
        images: str | None = None,
        classes: Sequence[str] | None = None,
        rectangles: Literal["box", "mask"] = "box",
    ) -> None:
        if rectangles not in ("box", "mask"):
            raise SegkitError(
                f"labelme: 'rectangles' is {rectangles!r}; expected box or mask", key="rectangles", value=rectangles
            )
        path = local_path(root, "folder of LabelMe files").absolute()
        self.root = path if path.is_dir() else path.parent
        self.folder = local_path(images, "folder of images", kind="folder").absolute() if images else None
        self._rectangles: Literal["box", "mask"] = rectangles
        self._embedded = self._others = 0
        lost = LostCounter()
        files = [path] if path.is_file() else list(_json_files(path))
        found = PackedList(
            image for image in parse_each(files, lambda file: self._read(file, lost)) if image is not None
        )
        if not len(found):
            raise SegkitError(f"{path}: holds no JSON files of LabelMe", value=root)
        self._unlabelled = _unlabelled(self.folder or self.root, found) if path.is_dir() else []
        names = class_names(o for image in found for o in image.objects)
        super().__init__(found, names, classes, where=f"LabelMe files in {path}", lost=lost.lost_objects())

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        spec: dict[str, Any] = {"format": "labelme", "root": str(path.absolute())}
        if path.is_file():
            return Recognition(spec, "a JSON file of LabelMe") if _is_labelme(path) else None
        first = _first_labelme(path)
        if first is None:
            return None
        splits: dict[str, dict[str, Any]] = {
            split: {**spec, "root": str(path.absolute() / name)}
            for name, split in SPLIT_FOLDERS.items()
            if (path / name).is_dir() and _first_labelme(path / name) is not None
        }
        if first.parent == path:
            splits = {}  # files outside of the folders of splits belong to none
        reason = f"JSON files of LabelMe, as {first.relative_to(path).as_posix()}"
        return Recognition(splits.get("train", spec), reason, splits, certainty=0.95)

    def notes(self) -> list[str]:
        notes = []
        if self._unlabelled:
            few = first_few(self._unlabelled, 3)
            notes.append(f"{len(self._unlabelled)} images have no JSON file and are not used: {few}")
        if self._embedded:
            notes.append(f"{self._embedded} images are read from their JSON files")
        return [*notes, f"{self._others} JSON files are not of LabelMe"] if self._others else notes

    def _read_image(self, annotation: ImageAnnotation) -> torch.Tensor:
        if not annotation.file.endswith(".json"):
            return super()._read_image(annotation)
        with _extracted(Path(annotation.file), annotation.source) as file:
            return self.reader.read(file)

    def _image_size(self, annotation: ImageAnnotation) -> tuple[int, int]:
        if not annotation.file.endswith(".json"):
            return super()._image_size(annotation)
        with _extracted(Path(annotation.file), annotation.source) as file:
            return self.reader.size(file)

    def _read(self, file: Path, lost: LostCounter) -> ImageAnnotation | None:
        """The image of a JSON file; None if the file is not of LabelMe."""
        source = relative_name(file, self.root)
        content = read_json(file, source)
        if not isinstance(content, dict) or ("shapes" not in content and "imagePath" not in content):
            self._others += 1
            return None
        shapes = content.get("shapes")
        if not isinstance(shapes, list):
            raise SegkitError(f"{source}: 'shapes' is {shown(shapes)}; expected a list")
        image = self._find_image(file, source, content)
        size = _stated_size(content, source)
        annotation = ImageAnnotation(str(image or file), "", size, [], source)
        annotation.name = relative_name(image, self.folder or self.root) if image else _image_path(content, source)
        if size is None and any(isinstance(s, dict) and s.get("shape_type") == "mask" for s in shapes):
            annotation.size = size = self._image_size(annotation)
        self._embedded += image is None
        found: list[Shape] = []
        for index, item in enumerate(shapes):
            shape = read_shape(item, f"{source}: shapes[{index}]", size, lost)
            if shape is not None:
                found.append(shape)
        try:
            annotation.objects = group_shapes(found, size, self._rectangles)
        except SegkitError as error:
            raise SegkitError(f"{source}: {error}") from error
        return annotation

    def _find_image(self, file: Path, source: str, content: dict[str, Any]) -> Path | None:
        """The image's file; None if the JSON file holds the image.

        Raises a SegkitError if there is neither.
        """
        name = _image_path(content, source)
        inside = name.removeprefix("../")
        folders = [self.folder] if self.folder else [file.parent]
        candidates = [folder / name for folder in folders if not leads_out(name)]
        if name.startswith("../") and not leads_out(inside) and file.parent != self.root:
            candidates.append(file.parent.parent / inside)
        candidates += [folder / os.path.basename(name) for folder in folders]
        image = next((path for path in candidates if path.is_file() and is_image_name(path)), None)
        if image is None and not content.get("imageData"):
            near = suggest_files([os.path.basename(name)], [n for n in files_in(folders[0]) if is_image_name(n)][:5000])
            raise SegkitError(
                f"{source}: the image '{name}' is missing in {folders[0]}, and 'imageData' is empty{near}; 'images' may name "
                "the folder of the images",
                key="images",
            )
        return image


def _image_path(content: dict[str, Any], source: str) -> str:
    """``imagePath`` with forward slashes."""
    name = content.get("imagePath")
    if not isinstance(name, str) or not name.strip() or "\0" in name or len(name) > 4096:
        raise SegkitError(f"{source}: 'imagePath' is {shown(name)}; expected the path of an image")
    name = name.replace("\\", "/")
    if os.path.basename(name) in ("", ".", "..") or len(os.path.basename(name).encode("utf-8", "replace")) > 255:
        raise SegkitError(f"{source}: 'imagePath' is {shown(name)}; expected the path of an image")
    return name


def _stated_size(content: dict[str, Any], source: str) -> tuple[int, int] | None:
    """(H, W); None if one of them is null or missing."""
    stated = content.get("imageHeight"), content.get("imageWidth")
    if None in stated:
        return None
    height, width = (as_integer(value, MAX_SIDE + 1) for value in stated)
    if height is None or width is None or height < 1 or width < 1:
        raise SegkitError(
            f"{source}: 'imageHeight' is {shown(stated[0])} and 'imageWidth' is {shown(stated[1])}; expected pixels or null"
        )
    return height, width


@contextmanager
def _extracted(file: Path, source: str) -> Iterator[Path]:
    """The image inside of a JSON file, as a temporary file."""
    text = read_json_mapping(file, source).get("imageData")
    try:
        content = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise SegkitError(f"{source}: 'imageData' is not base64 ({error})") from error
    suffix = next((suffix for head, suffix in SIGNATURES.items() if content.startswith(head)), ".png")
    with tempfile.TemporaryDirectory(prefix="segkit-") as folder:
        path = Path(folder, f"imageData{suffix}")
        path.write_bytes(content)
        try:
            yield path
        except SegkitError as error:
            raise SegkitError(f"{source}: {str(error).replace(f'{folder}{os.sep}', '')}") from error


def _json_files(folder: Path) -> Iterator[Path]:
    """The JSON files of a folder and its subfolders, sorted in each folder."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_system_file(name))
        yield from (
            Path(parent, name) for name in sorted(names) if name.lower().endswith(".json") and not is_system_file(name)
        )


def _first_labelme(folder: Path) -> Path | None:
    """The first file of LabelMe among the first JSON files of a folder and its subfolders; None if there is none."""
    return next((file for file in islice(_json_files(folder), LOOKED_AT) if _is_labelme(file)), None)


def _is_labelme(file: Path) -> bool:
    """Whether a file begins like one of LabelMe."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return False
    return (
        file.suffix.lower() == ".json" and b'"shapes"' in head and (b'"imagePath"' in head or b'"shape_type"' in head)
    )


def _unlabelled(folder: Path, found: Iterable[ImageAnnotation]) -> list[str]:
    """The images of a folder that no JSON file is about."""
    used = {os.path.normpath(image.file) for image in found}
    images = (name for name in files_in(folder) if is_image_name(name) and not is_system_file(os.path.basename(name)))
    return sorted(name for name in images if os.path.normpath(folder / name) not in used)
