"""Lines that writers keep on the disk until their files are made of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".part"


class PartFiles:
    """Files of lines in a folder, to which writers append what they found in an image.

    Memory stays flat with the number of images, a run that was interrupted continues after the last image that all writers
    have finished (:meth:`rewind`), and the parts of several processes are read as one (``earlier``).

    Args:
        folder: of this process's parts; created with the first line.
        earlier: folders of other processes' parts, whose lines come before those of ``folder``, in this order.
    """

    def __init__(self, folder: str | os.PathLike[str], earlier: Sequence[Path] = ()) -> None:
        self.folder = Path(folder)
        self.earlier = tuple(earlier)
        self._streams: dict[str, BinaryIO] = {}

    def append(self, name: str, line: str) -> None:
        """Appends a line, without line breaks, to the part of a name such as ``table``."""
        assert "\n" not in line, line
        self._stream(name).write(line.encode() + b"\n")

    def lines(self, name: str) -> Iterator[str]:
        """Yields the lines of a part, in the order of the processes; none if there is no such part."""
        self.flush()
        for folder in (*self.earlier, self.folder):
            if (folder / f"{name}{SUFFIX}").is_file():
                with open(folder / f"{name}{SUFFIX}", encoding="utf-8", newline="\n") as stream:
                    for line in stream:
                        yield line.removesuffix("\n")

    def flush(self) -> None:
        """Hands what was appended to the operating system."""
        for stream in self._streams.values():
            stream.flush()

    def positions(self) -> dict[str, int]:
        """The length of each part of this process, in bytes, for :meth:`rewind`."""
        self.flush()
        return {path.stem: path.stat().st_size for path in sorted(self.folder.glob(f"*{SUFFIX}"))}

    def size(self, name: str) -> int:
        """The length of a part of this process, in bytes; 0 if there is none."""
        path = self.folder / f"{name}{SUFFIX}"
        return path.stat().st_size if path.is_file() else 0

    def rewind(self, positions: Mapping[str, int]) -> None:
        """Shortens the parts to the lengths that they had; parts that did not exist become empty."""
        self.close()
        for path in self.folder.glob(f"*{SUFFIX}"):
            os.truncate(path, positions.get(path.stem, 0))

    def close(self) -> None:
        """Closes the files; they open again when a line is appended."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def remove(self) -> None:
        """Removes all parts and their folders, if these hold nothing else."""
        self.close()
        for folder in (*self.earlier, self.folder):
            for path in folder.glob(f"*{SUFFIX}"):
                path.unlink()
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _stream(self, name: str) -> BinaryIO:
        if name not in self._streams:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._streams[name] = open(self.folder / f"{name}{SUFFIX}", "ab")  # noqa: SIM115  # closed by close()
        return self._streams[name]
