"""What a folder holds: numbers of files by suffix, and its sub-folders."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from segkit.utils.errors import first_few
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file
from segkit.utils.images.suffixes import is_image_folder

# Of files that hold annotations of some tool, whether segkit reads it or not.
ANNOTATION_SUFFIXES = (".json", ".geojson", ".ndjson", ".xml", ".roi", ".zip", ".gz", ".npy", ".mat")
MAX_ENTRIES = 50_000
MAX_SECONDS = 2.0  # a network drive may need a millisecond an entry


@dataclass
class FolderContents:
    """Files and folders below a folder, as far as they were counted.

    Attributes:
        suffixes: number of files by suffix, in lower case and with the dot; ``""`` for files without one.
        folders: names of the folders directly in it, sorted.
        annotations: the files that may hold annotations, by their suffixes, relative to the folder; text files too, if an
            image has the same name.
        complete: whether everything was counted, within ``MAX_ENTRIES`` and ``MAX_SECONDS``.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    complete: bool = True

    @classmethod
    def of(cls, root: Path) -> FolderContents:
        """Counts what is below a folder, or the file itself; unreadable folders are skipped."""
        found = cls()
        if not root.is_dir():
            found.suffixes[root.suffix.lower()] += 1
            return found
        found._count(root)
        found.folders.sort()
        return found

    def _count(self, root: Path) -> None:
        """Counts the entries below a folder, within the limits."""
        waiting, seen, deadline = deque([root]), 0, time.monotonic() + MAX_SECONDS
        images: set[str] = set()
        texts: dict[str, str] = {}
        while waiting and self.complete:
            folder = waiting.popleft()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        seen += 1
                        if seen > MAX_ENTRIES or time.monotonic() > deadline:
                            self.complete = False
                            break
                        if is_system_file(entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=folder == root) and not is_image_folder(Path(entry.path)):
                            waiting.append(folder / entry.name)
                            if folder == root:
                                self.folders.append(entry.name)
                            continue
                        stem, suffix = os.path.splitext(entry.name)
                        self.suffixes[suffix.lower()] += 1
                        if suffix.lower() in ANNOTATION_SUFFIXES:
                            self.annotations.append(os.path.relpath(entry.path, root))
                        elif suffix.lower() == ".txt":
                            texts[stem] = os.path.relpath(entry.path, root)
                        elif is_image_name(entry.name):
                            images.add(stem)
            except OSError:
                continue
        self.annotations += [file for stem, file in texts.items() if stem in images]
        self.annotations.sort()

    def describe(self) -> str:
        """One line: ``120 .png, 3 .txt; folders images, labels``."""
        files = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in self.suffixes.most_common(8)]
        text = ", ".join(files) or "no files"
        if len(self.suffixes) > 8:
            text += ", ..."
        if not self.complete:
            text = f"more than {MAX_ENTRIES:,} entries, among the first {text}"
        return text + (f"; folders {first_few(self.folders, 8)}" if self.folders else "")


def sub_folders(folder: Path, limit: int = 1000) -> list[Path]:
    """At most ``limit`` folders directly in a folder, sorted.

    System folders and folders that are one image (Zarr) are skipped.
    """
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_system_file(entry.name) and entry.is_dir() and not is_image_folder(Path(entry.path)):
                    found.append(folder / entry.name)
                    if len(found) == limit:
                        break
    except OSError:
        return []
    return sorted(found)


def files_in(folder: Path, suffix: str | None = None, limit: int = 1000) -> list[Path]:
    """At most ``limit`` files directly in a folder, sorted, without system files.

    A folder that is one image (Zarr) counts as a file.

    Args:
        folder: that is listed; one that cannot be read has no files.
        suffix: in lower case, with the dot; None: all files.
        limit: largest number of files.
    """
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                fits = suffix is None or entry.name.lower().endswith(suffix)
                is_one = entry.is_file() or is_image_folder(Path(entry.path))
                if fits and is_one and not is_system_file(entry.name):
                    found.append(folder / entry.name)
                    if len(found) == limit:
                        break
    except OSError:
        return []
    return sorted(found)
