"""What a folder holds: numbers of files by suffix, and its sub-folders."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
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
            for name, is_folder in scan(folder):
                seen += 1
                if seen > MAX_ENTRIES or time.monotonic() > deadline:
                    self.complete = False
                    break
                path = folder / name
                if is_folder:
                    if folder == root:
                        self.folders.append(name)
                    elif path.is_symlink():  # it may lead back
                        continue
                    waiting.append(path)
                    continue
                stem, suffix = os.path.splitext(name)
                self.suffixes[suffix.lower()] += 1
                if suffix.lower() in ANNOTATION_SUFFIXES:
                    self.annotations.append(os.path.relpath(path, root))
                elif suffix.lower() == ".txt":
                    texts[stem] = os.path.relpath(path, root)
                elif is_image_name(name):
                    images.add(stem)
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


def scan(folder: Path) -> Iterator[tuple[str, bool]]:
    """The names in a folder, and whether each is a folder.

    A folder that is an image (Zarr) counts as a file. System files, broken links and links to themselves are skipped. A
    folder that cannot be read has no names.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if is_system_file(entry.name) or (entry.is_symlink() and not os.path.exists(path)):
                    continue
                yield entry.name, entry.is_dir() and not is_image_folder(Path(path))
    except OSError:
        return


def folder_names(folder: Path, limit: int | None = None) -> list[str]:
    """Names of the folders directly in a folder, at most ``limit``, sorted; see :func:`scan`."""
    return sorted(islice((name for name, is_folder in scan(folder) if is_folder), limit))


def sub_folders(folder: Path, limit: int | None = None) -> list[Path]:
    """The folders of :func:`folder_names`, with their paths."""
    return [folder / name for name in folder_names(folder, limit)]


def files_in(folder: Path, suffix: str = "", limit: int = 1000) -> list[Path]:
    """At most ``limit`` files directly in a folder, sorted; see :func:`scan`.

    Args:
        folder: that is listed.
        suffix: in lower case, with the dot; empty: all files.
        limit: largest number of files.
    """
    names = (name for name, is_folder in scan(folder) if not is_folder and name.lower().endswith(suffix))
    return sorted(folder / name for name in islice(names, limit))
