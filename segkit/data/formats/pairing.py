"""Pairs images with their annotation files by name, and notes those without a partner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.data.formats.parsing.file_errors import skip_missing
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.folder_contents import folder_names
from segkit.utils.errors import SegkitError, did_you_mean, first_few, nearest
from segkit.utils.images import ImageFiles
from segkit.utils.paths.missing_files import leads_out
from segkit.utils.paths.spellings import composed

MAX_COMPARED = 2000  # names that an unpaired file is compared with
SHOWN = 3
MAX_SPLITS = 12  # folders in which recognition looks
Named = tuple[str, str]  # what the names of partners share, and the file's name


@dataclass
class ImagePairs:
    """Images with their annotation files, and sentences about those without.

    Attributes:
        pairs: image and annotation file, sorted by the image's name.
        notes: what was skipped.
    """

    pairs: list[tuple[Path, Path]]
    notes: list[str] = field(default_factory=list)


def pair_files(
    images: Sequence[Path], annotations: Sequence[Path], stem: Callable[[str], str], what: str, where: Path
) -> ImagePairs:
    """Pairs images and annotation files whose names agree.

    Args:
        images: image files.
        annotations: annotation files.
        stem: the part of an annotation file's name that is the image's name or stem.
        what: title of an annotation file, as ``GeoJSON file``.
        where: the folder, for messages.
    Raises:
        SegkitError: no image has an annotation file, or one has two.
    """
    by_name: dict[str, list[Path]] = {}
    for image in images:
        for name in {composed(image.name), composed(image.stem)}:
            by_name.setdefault(name, []).append(image)
    found: dict[Path, Path] = {}
    extra: list[Named] = []
    for file in annotations:
        name = composed(stem(file.name))
        own = by_name.get(name, [])
        exact = [image for image in own if composed(image.name) == name] or own
        if len(exact) > 1:
            both = " and ".join(image.name for image in exact[:2])
            raise SegkitError(f"{file}: both {both} may be its image; give the file the name of one, with its suffix")
        if not exact:
            extra.append((name, file.name))
        elif exact[0] in found:
            raise SegkitError(f"{exact[0]}: has two annotation files, {found[exact[0]].name} and {file.name}")
        else:
            found[exact[0]] = file
    image_names = [(image.stem, image.name) for image in images]
    if not found:
        example = f"; the first {what} is {shown_pair(extra[0], image_names)}" if extra else ""
        raise SegkitError(f"{where}: none of {len(images)} images has a {what} of its name{example}")
    notes = []
    if without := [(image.stem, image.name) for image in images if image not in found]:
        notes.append(unpaired_note(without, [(stem(file.name), file.name) for file in annotations], "images", what))
    if extra:
        notes.append(unpaired_note(extra, image_names, f"{what}s", "image"))
    return ImagePairs(sorted(found.items()), notes)


def mapped_files(files: Mapping[str, str], images: Path, annotations: Path) -> ImagePairs:
    """The pairs of a configured mapping of image names to annotation files.

    Args:
        files: names relative to the two folders.
        images: folder of the images.
        annotations: folder of the annotation files.
    Raises:
        SegkitError: a file is missing, or a name leads out of its folder.
    """
    for name in [*files, *files.values()]:
        if not isinstance(name, str) or not name or leads_out(name) or "\0" in name:
            raise SegkitError(f"files: '{name}' is not a name below {images}", key="files", value=name)
    missing = skip_missing(images, list(files), "images of files")
    without = skip_missing(annotations, list(files.values()), "annotation files of files")
    pairs = [(i, f) for i, f in files.items() if i not in missing and f not in without]
    return ImagePairs([(images / image, annotations / file) for image, file in pairs])


def unpaired_note(unpaired: Sequence[Named], others: Sequence[Named], what: str, other: str) -> str:
    """One sentence about files without a partner, with the nearest name for each of the first.

    Args:
        unpaired: the files.
        others: the files that they could belong to.
        what: title of the files, as ``images``.
        other: title of a partner, as ``mask``.
    """
    names = [shown_pair(file, others) for file in unpaired[:SHOWN]]
    more = ", ..." if len(unpaired) > SHOWN else ""
    return f"{len(unpaired)} {what} have no {other} and are skipped: {first_few(names, SHOWN)}{more}"


def shown_pair(file: Named, others: Sequence[Named]) -> str:
    """A file's name, and the nearest one that it could belong to."""
    stem, name = file
    names = {other: other_name for other, other_name in others[:MAX_COMPARED] if other != stem}
    near = nearest(stem, names, 1)
    return f"{name} (nearest: {names[near[0]]})" if near else name


def split_folder(root: Path, split: str | None) -> Path:
    """The folder of a split below ``root``.

    Raises:
        SegkitError: there is no such folder.
    """
    if split is None:
        return root
    folders = folder_names(root)
    if split not in folders:
        hint = did_you_mean(split, folders) or "; the folder has no subfolders"
        raise SegkitError(f"{root}: there is no split '{split}'{hint}", key="split", value=split)
    return root / split


def inner_folder(root: Path, names: Sequence[str]) -> Path:
    """The first of some subfolders that exists; ``root`` itself if there is none."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def images_in(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted; an empty list if it cannot be listed."""
    try:
        return ImageFiles.in_folder(folder).images
    except OSError:
        return []


def recognize_pairs(
    path: Path, spec: Mapping[str, Any], count_pairs: Callable[[Path], int], what: str
) -> Recognition | None:
    """Recognises a folder of images with an annotation file each, or such folders by split.

    Args:
        path: of the folder.
        spec: of the format and the folder; a split adds its name as ``split``.
        count_pairs: number of images with an annotation file in a folder; 0 if it is of another format.
        what: the annotation file in the reason, as ``a GeoJSON file``.
    """
    if count := count_pairs(path):
        return Recognition(spec, f"{count} images with {what} each", certainty=0.9)
    splits = {name: {**spec, "split": name} for name in folder_names(path)[:MAX_SPLITS] if count_pairs(path / name)}
    return Recognition.of_splits(splits, f"folders of images with {what} each", certainty=0.9)
