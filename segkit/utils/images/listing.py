"""Which files of a folder are images: the one place that knows what systems leave beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segkit.utils.errors import first_few
from segkit.utils.images.image_io import is_image_name

# In lower case. Files and folders of Windows, macOS, Synology and ext file systems.
LITTER = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir",
    "$recycle.bin", "system volume information", "lost+found",
}  # fmt: skip
# Why a file is left out: of one, of several.
HIDDEN = ("hidden or system file", "hidden or system files")
EMPTY = ("empty file", "empty files")
BROKEN = ("broken link", "broken links")
OTHER = ("file without an image's suffix", "files without an image's suffix")
Reason = tuple[str, str]
SHOWN = 3


def is_litter(name: str) -> bool:
    """Whether an operating system or an editor left a file or folder of this name; hidden ones count as such.

    ``._image.png`` is macOS's resource fork of ``image.png``: it ends as an image does, and is none.
    """
    return name.startswith((".", "~$")) or name.endswith(("~", ":Zone.Identifier")) or name.casefold() in LITTER


@dataclass
class ImageFiles:
    """The images among some files, and what was left out.

    Attributes:
        images: in the order of the files.
        left_out: files by the reason for leaving them out.
        folders: number of folders among the files, those of the system not counted.
    """

    images: list[Path] = field(default_factory=list)
    left_out: dict[Reason, list[Path]] = field(default_factory=dict)
    folders: int = 0

    @classmethod
    def among(cls, paths: Iterable[Path]) -> ImageFiles:
        """Sorts out files and folders, in their order; only their names and sizes are looked at."""
        found = cls()
        for path in paths:
            if path.is_dir():
                found.folders += not is_litter(path.name)
                continue
            reason = _reason_against(path)
            if reason is None:
                found.images.append(path)
            else:
                found.left_out.setdefault(reason, []).append(path)
        return found

    @classmethod
    def of_folder(cls, folder: Path) -> ImageFiles:
        """The images right in a folder, by name."""
        return cls.among(folder / name for name in sorted(os.listdir(folder)))

    def note(self) -> str:
        """How many files were left out and why, with their first names; empty where none was."""
        return count_left_out(self.left_out)


def count_left_out(left_out: Mapping[Reason, list[Path]]) -> str:
    """``2 hidden or system files (._a.png, .DS_Store), 1 empty file (b.png)``."""
    parts = []
    for (one, several), paths in left_out.items():
        names = first_few([path.name for path in paths], SHOWN)
        parts.append(f"{len(paths)} {one if len(paths) == 1 else several} ({names})")
    return ", ".join(parts)


def _reason_against(path: Path) -> Reason | None:
    """Why a file is no image; None where it is one."""
    if is_litter(path.name):
        return HIDDEN
    if not is_image_name(path.name):
        return OTHER
    try:
        return EMPTY if path.stat().st_size == 0 else None
    except (FileNotFoundError, RuntimeError):
        return BROKEN
    except OSError:  # a link to itself, or no permission: reading it says so
        return BROKEN if path.is_symlink() else None
