"""Finds the images, annotation files, masks, lists and classes of a PASCAL VOC data set."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segkit.data.formats.parsing.text import read_text
from segkit.data.formats.voc.masks import Color
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths.missing_files import leads_out
from segkit.utils.xml_reader import root_tag

OF_CLASS = re.compile(r"\s+-?[01]$")  # in lists of one class: whether the image has an object of it
LISTS = ("Segmentation", "Main")  # of ImageSets: the first that has a split is used
LABELMAP_LINE = re.compile(r"(.+):\s*(\d+\s*,\s*\d+\s*,\s*\d+)\s*:[^:]*:[^:]*")  # whose name may have colons
Labelmap = dict[str, Color | None]  # classes and colours of labelmap.txt
# In the order of their indices in SegmentationClass.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class VocLayout:
    """The folders of a data set.

    Attributes:
        root: the folder that holds the others; names in messages are relative to it.
        images: the folder of the images.
        annotations: that of the XML files; None: there is none.
        objects: ``SegmentationObject``; None: there is none.
        classes: ``SegmentationClass``; None: there is none.
    """

    root: Path
    images: Path
    annotations: Path | None
    objects: Path | None
    classes: Path | None


def find_layout(root: Path) -> VocLayout:
    """The folders of a data set: VOC's own, or images and XML files in one folder.

    Raises:
        SegkitError: there are neither annotation files nor masks.
    """
    if not _folders(root) and _first_xml(root) is None:
        inner = [child for child in _children(root) if _folders(child)]
        nested = [
            child for top in _children(root) if top.name == "VOCdevkit" for child in _children(top) if _folders(child)
        ]
        found = inner or nested
        if len(found) != 1:
            names = ", ".join(path.name for path in found)
            problem = f"holds {names}; give one of them" if found else "has no Annotations and no SegmentationObject"
            raise SegkitError(f"{root}: {problem}", value=str(root))
        root = found[0]
    annotations = root / "Annotations" if (root / "Annotations").is_dir() else None
    if annotations is None and not (root / "SegmentationObject").is_dir():
        annotations = root
    images = next((root / name for name in ("JPEGImages", "images", "Images") if (root / name).is_dir()), root)
    folders = [root / name if (root / name).is_dir() else None for name in ("SegmentationObject", "SegmentationClass")]
    return VocLayout(root, images, annotations, *folders)


def find_lists(root: Path) -> dict[str, Path]:
    """The lists of ``ImageSets`` by their names.

    ``train`` is that of Segmentation if there is one, else that of Main.
    ``Main/train`` and ``Segmentation/train`` name each by itself. Lists of one class, as ``cat_train``, are not splits.
    """
    found: dict[str, Path] = {}
    for kind in LISTS:
        folder = root / "ImageSets" / kind
        for file in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
            with open(file, "rb") as stream:
                is_of_class = OF_CLASS.search(stream.read(1024).decode("utf-8", "replace").split("\n")[0].rstrip())
            if is_of_class is None:
                found.setdefault(file.stem, file)
                found[f"{kind}/{file.stem}"] = file
    return found


def listed_stems(layout: VocLayout, split: str | None) -> list[str] | None:
    """The images of a split, without suffixes; None: those that are annotated.

    Raises:
        SegkitError: there is no such split, or a name leads out of the folder.
    """
    if split is None:
        return None
    lists = find_lists(layout.root)
    if split not in lists:
        names = [name for name in lists if "/" not in name]
        raise SegkitError(
            f"{layout.root}: there is no list '{split}' in ImageSets{did_you_mean(split, names)}",
            key="split",
            value=split,
            choices=names,
        )
    file = lists[split]
    stems: dict[str, None] = {}
    for number, line in enumerate(read_text(file, file.name).splitlines(), start=1):
        name = OF_CLASS.sub("", line.strip())
        if not name:
            continue
        if leads_out(name) or "\0" in name:
            raise SegkitError(f"{file.name}:{number}: the name '{name[:200]}' leads out of the folder of images")
        stems[name] = None
    if not stems:
        raise SegkitError(f"{file}: lists no images", key="split", value=split)
    return list(stems)


def files_by_stem(folder: Path | None, suffixes: Iterable[str] | None = None) -> dict[str, list[str]]:
    """The files of a folder by their name without suffix; images if no suffixes are given."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder is not None else ():
        stem, suffix = os.path.splitext(name)
        if not is_system_file(name) and (is_image_name(name) if suffixes is None else suffix.lower() in suffixes):
            found.setdefault(stem, []).append(name)
    return found


def read_labelmap(root: Path) -> Labelmap | None:
    """The classes and colours of ``labelmap.txt``, without the background.

    CVAT and Datumaro write the file. Returns None if there is none.

    Raises:
        SegkitError: a line is not ``name:r,g,b:parts:actions``.
    """
    file = root / "labelmap.txt"
    if not file.is_file():
        return None
    found: Labelmap = {}
    for number, line in enumerate(read_text(file, file.name).splitlines(), start=1):
        whole = LABELMAP_LINE.fullmatch(line.strip())
        if whole is None and (not line.strip() or line.startswith("#")):
            continue
        fields = whole.groups() if whole is not None else line.split(":")
        name, text = fields[0].strip(), "".join(fields[1:2]).strip()
        try:
            r, g, b = (int(part) for part in text.split(",")) if text else (0, 0, 0)
        except ValueError:
            raise SegkitError(f"{file.name}:{number}: '{line[:60]}'; expected name:r,g,b:parts:actions") from None
        if not all(0 <= value <= 255 for value in (r, g, b)):
            raise SegkitError(f"{file.name}:{number}: the colour {text[:40]} is not of 0 to 255")
        if (name, (r, g, b)) != ("background", (0, 0, 0)):
            found[name] = (r, g, b) if text else None
    return found


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []


def _folders(root: Path) -> bool:
    """Whether a folder has VOC's folders of annotations or masks."""
    masks = (root / "SegmentationObject").is_dir() and (root / "JPEGImages").is_dir()
    return masks or _first_xml(root / "Annotations") is not None


def _first_xml(folder: Path | None) -> Path | None:
    """An XML file of a folder; None if it has none."""
    if folder is None or not folder.is_dir():
        return None
    with os.scandir(folder) as entries:
        return next((Path(entry.path) for entry in entries if entry.name.lower().endswith(".xml")), None)


def is_voc(layout: VocLayout) -> bool:
    """Whether the first XML file is one of VOC; without XML files, whether there are masks."""
    file = _first_xml(layout.annotations)
    return layout.objects is not None if file is None else root_tag(file) == "annotation"
