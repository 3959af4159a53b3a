"""Finds the images among files, and says why the other files were skipped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segkit.utils.errors import first_few
from segkit.utils.images.suffixes import is_image_folder, is_image_name

# In lower case. Files and folders that Windows, macOS, Synology and ext file systems create.
SYSTEM_NAMES = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir",
    "$recycle.bin", "system volume information", "lost+found",
}  # fmt: skip
# Reasons for skipping a file, in singular and plural.
HIDDEN = ("hidden or system file", "hidden or system files")
EMPTY = ("empty file", "empty files")
BROKEN = ("broken link", "broken links")
OTHER = ("file without an image's suffix", "files without an image's suffix")
Reason = tuple[str, str]
SHOWN_NAMES = 3  # a reason


def is_system_file(name: str) -> bool:
    """Whether a file name is hidden, or made by an operating system or an editor.

    ``._image.png`` is macOS's resource fork of ``image.png``: it has the suffix of an image, but is not one.
    """
    return name.startswith((".", "~$")) or name.endswith(("~", ":Zone.Identifier")) or name.casefold() in SYSTEM_NAMES


@dataclass
class ImageFiles:
    """The images among some files, and the skipped files.

    Attributes:
        images: in the order of the files.
        skipped: the other files, by the reason.
        folders: number of folders among the files, without those of the operating system.
    """

    images: list[Path] = field(default_factory=list)
    skipped: dict[Reason, list[Path]] = field(default_factory=dict)
    folders: int = 0

    @classmethod
    def among(cls, paths: Iterable[Path]) -> ImageFiles:
        """Sorts paths into images and skipped files, by their names and sizes; the order is kept."""
        found = cls()
        for path in paths:
            if path.is_dir() and not is_image_folder(path):
                found.folders += not is_system_file(path.name)
                continue
            reason = _skip_reason(path)
            if reason is None:
                found.images.append(path)
            else:
                found.skipped.setdefault(reason, []).append(path)
        return found

    @classmethod
    def in_folder(cls, folder: Path) -> ImageFiles:
        """The images directly in a folder, sorted by name."""
        return cls.among(folder / name for name in sorted(os.listdir(folder)))

    def skipped_note(self) -> str:
        """Counts and first names of the skipped files, by reason; empty if no file was skipped."""
        return describe_skipped(self.skipped)


def describe_skipped(skipped: Mapping[Reason, list[Path]]) -> str:
    """Counts and first names of skipped files, by reason.

    For example ``2 hidden or system files (._a.png, .DS_Store), 1 empty file (b.png)``.
    """
    parts = []
    for (one, several), paths in skipped.items():
        names = first_few([path.name for path in paths], SHOWN_NAMES)
        parts.append(f"{len(paths)} {one if len(paths) == 1 else several} ({names})")
    return ", ".join(parts)


def _skip_reason(path: Path) -> Reason | None:
    """Why a file is not an image; None if it is one."""
    if is_system_file(path.name):
        return HIDDEN
    if not is_image_name(path.name):
        return OTHER
    try:
        return EMPTY if path.stat().st_size == 0 else None
    except (FileNotFoundError, RuntimeError):
        return BROKEN
    except OSError:  # a link to itself; or no permission, which the reader's error will say
        return BROKEN if path.is_symlink() else None
