"""Pairs the images of a folder with one annotation file each, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segkit.data.formats.pairing import unpaired_note
from segkit.data.formats.parsing.file_errors import skip_missing
from segkit.data.formats.path_patterns import Key
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import ImageFiles
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths.missing_files import leads_out


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
        for name in {image.name, image.stem}:
            by_name.setdefault(name, []).append(image)
    found: dict[Path, Path] = {}
    alone: list[Path] = []
    for file in annotations:
        name = stem(file.name)
        own = by_name.get(name, [])
        exact = [image for image in own if image.name == name] or own
        if len(exact) > 1:
            both = " and ".join(image.name for image in exact[:2])
            raise SegkitError(f"{file}: both {both} may be its image; give the file the name of one, with its suffix")
        if not exact:
            alone.append(file)
        elif exact[0] in found:
            raise SegkitError(f"{exact[0]}: has two annotation files, {found[exact[0]].name} and {file.name}")
        else:
            found[exact[0]] = file
    images_by_stem: dict[Key, list[Path]] = {(image.stem,): [image] for image in images}
    files_by_stem: dict[Key, list[Path]] = {(stem(file.name),): [file] for file in annotations}
    if not found:
        example = (
            "; " + unpaired_note({(stem(alone[0].name),): alone}, images_by_stem, f"{what}s", "image") if alone else ""
        )
        raise SegkitError(f"{where}: none of {len(images)} images has a {what} of its name{example}")
    notes = []
    without: dict[Key, list[Path]] = {(image.stem,): [image] for image in images if image not in found}
    if without:
        notes.append(unpaired_note(without, files_by_stem, "images", what))
    if alone:
        extra: dict[Key, list[Path]] = {(stem(file.name),): [file] for file in alone}
        notes.append(unpaired_note(extra, images_by_stem, f"{what}s", "image"))
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


def split_folder(root: Path, split: str | None) -> Path:
    """The folder of a split below ``root``.

    Raises:
        SegkitError: there is no such folder.
    """
    if split is None:
        return root
    folders = [path.name for path in root.iterdir() if path.is_dir() and not is_system_file(path.name)]
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
