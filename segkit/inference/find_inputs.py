"""The image files that the files, folders and globs of a command stand for."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segkit.utils.errors import SegkitError
from segkit.utils.images import IMAGE_SUFFIXES
from segkit.utils.images.listing import HIDDEN, OTHER, ImageFiles, Reason, describe_skipped, is_system_file
from segkit.utils.images.suffixes import is_image_folder
from segkit.utils.paths import local_path, why_unusable

logger = logging.getLogger(__name__)
OWN = ("overlay of an earlier prediction", "overlays of an earlier prediction")
SYSTEM = ("system folder", "system folders")
LOOP = ("link to a folder above it", "links to folders above them")
KINDS = ", ".join(IMAGE_SUFFIXES)


@dataclass
class Inputs:
    """The image files to predict.

    Attributes:
        files: each path once, in the order given.
        skipped: files of folders and globs that are no images by their name or size; an id map may list some of them.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)


def find_inputs(inputs: Sequence[str], own_output: str | os.PathLike[str] | None = None) -> Inputs:
    """Returns the image files that files, folders and globs stand for.

    A folder stands for the images directly in it, sorted by name, not for those in its folders, which might be masks. A
    file may have any name. In folders and globs, hidden files, files of the system, empty files and broken links are
    skipped, and the log has their number. Each path is one image: a link and its target are two, a path given twice is one.

    Args:
        inputs: as typed.
        own_output: a folder that this prediction writes pictures to; globs and folders skip the files in it.
    Raises:
        SegkitError: a file or folder does not exist (the message names the nearest that does), or a folder or glob has no
            images.
    """
    found: dict[str, Path] = {}
    skipped: list[Path] = []
    for given in inputs:
        images = _expand(given, own_output)
        for path in images.images:
            found.setdefault(_canonical(path), path)
        skipped += [path for paths in images.skipped.values() for path in paths]
        if images.skipped:
            harmless = images.skipped.keys() <= {HIDDEN, OTHER}
            level = logging.INFO if harmless else logging.WARNING
            logger.log(level, "skipped in '%s': %s", given, describe_skipped(images.skipped))
    return Inputs(list(found.values()), skipped)


def _expand(given: str, own_output: str | os.PathLike[str] | None) -> ImageFiles:
    text = os.path.expanduser(given)
    is_glob = glob.has_magic(text) and not os.path.lexists(text) and "://" not in text
    if is_glob:
        found = _matches(text)
    else:
        path = local_path(given, "input")
        if not path.is_dir() or is_image_folder(path):
            return ImageFiles([path])
        if not os.access(path, os.R_OK | os.X_OK):
            raise SegkitError(f"the folder '{given}' cannot be read: permission denied", value=given)
        found = ImageFiles.in_folder(path)
        if own_output is not None and path.resolve() == Path(own_output).resolve():
            own_output = None  # the user asks for this very folder
    if own_output is not None:
        _skip(found, OWN, lambda path: path.resolve().is_relative_to(Path(own_output).resolve()))
    if not found.images:
        raise SegkitError(_nothing_found(given, text, found, is_glob), value=given)
    return found


def _matches(pattern: str) -> ImageFiles:
    """The images that a glob matches, sorted; ``**`` skips system folders and circular links."""
    skipped: dict[Reason, list[Path]] = {}
    found = ImageFiles.among(Path(name) for name in sorted(set(_glob(_escaped(pattern), skipped))))
    found.skipped |= {reason: sorted(set(paths)) for reason, paths in skipped.items()}
    return found


def _glob(pattern: str, skipped: dict[Reason, list[Path]]) -> Iterator[str]:
    """As ``glob.glob(pattern, recursive=True)``, which may not end with circular links."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    at = parts.index("**")
    for top in glob.glob(str(Path(*parts[:at]))) if at else ["."]:
        for folder in _folders_below(Path(top), skipped):
            start = "" if str(folder) == "." else glob.escape(str(folder))
            yield from _glob(os.path.join(start, *(parts[at + 1 :] or ["*"])), skipped)


def _folders_below(
    folder: Path, skipped: dict[Reason, list[Path]], above: frozenset[Path] = frozenset()
) -> Iterator[Path]:
    """Yields a folder and all below it but hidden ones; follows no link to a folder above."""
    here = folder.resolve()
    if here in above:
        skipped.setdefault(LOOP, []).append(folder)
        return
    yield folder
    above = above.union((here, *here.parents))
    try:
        children = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        logger.warning("skipped: the folder '%s' cannot be read: %s", folder, error.strerror)
        return
    for child in children:
        if is_system_file(child.name) and not child.name.startswith("."):
            skipped.setdefault(SYSTEM, []).append(child)
        elif not is_system_file(child.name) and not is_image_folder(child):
            yield from _folders_below(child, skipped, above)


def _skip(found: ImageFiles, reason: Reason, is_skipped: Callable[[Path], bool]) -> None:
    """Moves images to the skipped files."""
    images: list[Path] = []
    skipped: list[Path] = []
    for path in found.images:
        (skipped if is_skipped(path) else images).append(path)
    if skipped:
        found.images, found.skipped[reason] = images, skipped


def _nothing_found(given: str, text: str, found: ImageFiles, is_glob: bool) -> str:
    """Returns the message for an input without images."""
    note = f": {describe_skipped(found.skipped)}" if found.skipped else ""
    if is_glob and (found.skipped or found.folders):
        count = sum(map(len, found.skipped.values())) + found.folders
        return f"'{given}' matches {count} files, but no images ({KINDS}){note}"
    if is_glob:
        folder = _folder_of(text)
        return f"'{given}' matches no files{'' if folder.is_dir() else f': the folder {folder} {why_unusable(folder)}'}"
    hint = f"; it has {found.folders} folders, which a glob reaches: '{Path(text)}/*/*'" if found.folders else ""
    return f"the folder '{given}' holds no images ({KINDS}){note}{hint}"


def _canonical(path: Path) -> str:
    """The absolute path, equal for two spellings of it; a link stays a link."""
    absolute = os.path.abspath(path)
    if ".." in path.parts and os.path.realpath(absolute) != os.path.realpath(path):
        absolute = os.path.join(os.path.realpath(path.parent), path.name)  # ".." after a link to a folder
    return absolute


def _folder_of(pattern: str) -> Path:
    """The folder in which a glob starts; wildcards in existing folders' names are literal."""
    folder = Path()
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part) and not (folder / part).is_dir():
            break
        folder /= part
    return folder


def _escaped(pattern: str) -> str:
    """Returns a glob whose starting folder has its wildcards escaped."""
    folder = _folder_of(pattern)
    return (
        os.path.join(glob.escape(str(folder)), *Path(pattern).parts[len(folder.parts) :]) if folder.parts else pattern
    )
