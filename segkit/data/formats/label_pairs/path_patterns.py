"""Patterns of file names with a ``{stem}``, which pair the files of two folders."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from segkit.data.formats.recognition.folder_contents import scan
from segkit.utils.errors import SegkitError
from segkit.utils.paths.missing_files import leads_out
from segkit.utils.paths.spellings import composed

STEM = "{stem}"
Key = tuple[str, ...]  # what the * of the folders stand for, and the stem


class PathPattern:
    """A pattern such as ``masks/{stem}_mask.*``, relative to a data set's folder.

    ``{stem}`` is what the files of one image share. A ``*`` stands for any text within one name; two files belong
    together if the ``*`` of their folders stand for the same names too, as in ``*/images/{stem}.tif`` and
    ``*/masks/{stem}.png``. The name of a folder means all files in it, by their stems.

    Args:
        text: the pattern.
        root: the folder that it is relative to.
        key: the configuration's key, for messages.
    Raises:
        SegkitError: the pattern leads out of the folder, or lacks the ``{stem}``.
    """

    def __init__(self, text: str, root: Path, key: str) -> None:
        cleaned = text.replace("\\", "/").strip("/") if not os.path.isabs(text) else text
        if leads_out(cleaned) or not cleaned or "\0" in cleaned:
            raise SegkitError(
                f"{key}: '{text}' leads out of the data set; expected a pattern below {root}, as masks/{STEM}.*",
                key=key,
                value=text,
            )
        if STEM not in cleaned and (root / cleaned).is_dir():
            cleaned += f"/{STEM}.*"
        if STEM not in cleaned and cleaned.rpartition("/")[2].count("*") == 1:
            folder, slash, name = cleaned.rpartition("/")
            cleaned = folder + slash + name.replace("*", STEM)
        if cleaned.count(STEM) != 1:
            raise SegkitError(
                f"{key}: '{text}' is neither a folder of {root} nor a pattern with one {STEM}; expected something like "
                f"masks/{STEM}.* or {STEM}_masks.tif",
                key=key,
                value=text,
            )
        self.text, self.root = cleaned, root

    def files(self, suffixes: Collection[str]) -> dict[Key, list[Path]]:
        """The files of one of the suffixes that match, sorted, by what identifies their image."""
        found: dict[Key, list[Path]] = {}
        for key, path in self._matches(self.root, self.text.split("/"), ()):
            if path.suffix.lower() in suffixes:
                found.setdefault(key, []).append(path)
        return dict(sorted(found.items()))

    def _matches(self, folder: Path, parts: list[str], key: Key) -> Iterator[tuple[Key, Path]]:
        """Files below a folder that match the remaining parts of the pattern."""
        part, rest = parts[0], parts[1:]
        if rest and STEM not in part and "*" not in part:
            yield from self._matches(folder / part, rest, key)
            return
        pattern = _regex(part, captured=bool(rest))
        for name, is_folder in sorted(scan(folder)):
            match = pattern.fullmatch(name)
            if match is None or is_folder != bool(rest):
                continue
            own = (*key, *map(composed, match.groups()))  # macOS writes names in another form of Unicode
            if rest:
                yield from self._matches(folder / name, rest, own)
            else:
                yield own, folder / name


def _regex(part: str, captured: bool) -> re.Pattern[str]:
    """A regular expression for one part of a pattern; ``captured``: the ``*`` identify the image too."""
    tokens = re.split(r"(\{stem\}|\*)", part)
    any_text = "(.*)" if captured else ".*"
    translated = {STEM: "(.+)", "*": any_text}
    text = "".join(translated.get(token, re.escape(token)) for token in tokens)
    if part.endswith(".*"):  # the suffix is after the last dot, so that the stem may hold others
        text = text.removesuffix(any_text) + r"[^.]*"
    return re.compile(text, re.DOTALL)
