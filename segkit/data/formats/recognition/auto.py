"""``format: auto``: recognises the format of a folder or file by its content."""

from __future__ import annotations

import inspect
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.data.formats.build import build_dataset
from segkit.data.formats.recognition.folder_contents import FolderContents, files_in, sub_folders
from segkit.data.formats.recognition.result import INCOMPLETE, Recognition
from segkit.data.formats.split_names import find_split
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.docstrings import first_line
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.images import IMAGE_SUFFIXES, ImageReader
from segkit.utils.paths import local_path

logger = logging.getLogger(__name__)
CERTAIN = 0.5  # at less, the data may lie in the only sub-folder
MAX_NESTING = 4  # folders in folders, as archives have them
SLOW_SECONDS = 2.0


@DATASET_FORMAT_REGISTRY.register(name="auto")
def open_recognized(
    *,
    path: str,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
) -> Dataset:
    """A data set of any format, recognised by its content; the log says which one and why.

    Args:
        path: folder or file.
        split: the part to open, if the data have several (``train``, ``val``, ...); by default the training part.
        classes: class names, as in the recognised format.
        category_ids: id of each class, if the recognised format takes them.
    Raises:
        SegkitError: no format recognises the data, or several do; there is no such split.
    """
    found = recognize(local_path(path, "data set"))
    spec = found.spec if split is None else found.splits[choose_split(found, split, path)]
    logger.info("%s: taken for %s (%s)", path, spec["format"], found.reason)
    return build_dataset(spec, classes, category_ids)


def open_dataset(
    source: str | os.PathLike[str] | Mapping[str, Any] | Dataset,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    reader: ImageReader | None = None,
) -> Dataset:
    """Opens a data set of any format: a folder or file, or a spec as in a configuration.

    Args:
        source: a path, whose format is recognised by its content; a spec, ``{"format": "coco", ...}``; or a data set,
            which is returned as it is.
        split: the part to open, if a path holds several; by default the training part.
        classes: class names that the data must have, in the order of the labels; None: those of the data.
        reader: reads the image files; None: 8-bit RGB.
    Raises:
        SegkitError: the data cannot be recognised or read, or there is no such split.

    >>> data = open_dataset("my_data", split="val")
    >>> data.classes, len(data), data.load(0).targets
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, (str, os.PathLike)):
        source = {"format": "auto", "path": os.fspath(source), **({} if split is None else {"split": split})}
    elif split is not None:
        raise SegkitError("split is for a path; a spec names its own part of the data", key="split", value=split)
    return build_dataset(source, classes, reader=reader)


def choose_split(found: Recognition, split: str, where: object) -> str:
    """The split that the user calls ``split``: of that name, or of the same meaning.

    Raises:
        SegkitError: there is none; ``where`` names the data.
    """
    name = find_split(found.splits, split)
    if name is None:
        hint = (
            did_you_mean(split, found.splits) if found.splits else f"; these {found.spec['format']} data have no splits"
        )
        raise SegkitError(
            f"{where}: there is no split '{split}'{hint}", key="split", value=split, choices=list(found.splits)
        )
    return name


def recognize(path: Path, format: str | None = None) -> Recognition:
    """The format of a folder or file.

    A folder that holds one folder and nothing else may have the format of the inner one. Images beside files that may be
    annotations are not taken for images alone, because training would learn nothing from them.

    Args:
        path: that exists.
        format: the only format to ask, if the user names it; None: all of them.
    Raises:
        SegkitError: no format recognises it, or several do with equal certainty; or there is no format of that name that
            recognises data.
    """
    asked = _recognizers()
    if format is not None:
        if format not in asked:
            raise SegkitError(
                f"--format: '{format}' is not a format that recognises data{did_you_mean(format, asked)}",
                value=format,
                choices=list(asked),
            )
        asked = {format: asked[format]}
    uncertain: Recognition | None = None
    failures: dict[str, Exception] = {}
    for folder in _nested(path):
        if (folder / INCOMPLETE).is_file():
            raise SegkitError(
                f"{folder}: is unfinished, as its file {INCOMPLETE} says: delete the folder and write it again",
                value=str(path),
            )
        found = sorted(_recognitions(folder, asked, failures), key=lambda recognition: -recognition.certainty)
        if len(found) > 1 and found[0].certainty == found[1].certainty:
            equal = [r for r in found if r.certainty == found[0].certainty]
            both = ", or for ".join(f"{r.spec['format']} ({r.reason})" for r in equal)
            raise SegkitError(
                f"{folder}: may be taken for {both}; say which: {{format: {equal[0].spec['format']}, ...}}",
                value=str(path),
                choices=[str(r.spec["format"]) for r in equal],
            )
        if found and found[0].certainty >= CERTAIN:
            return found[0]
        if found and uncertain is None:
            uncertain = found[0]
    if uncertain is not None and (format is not None or not FolderContents.of(path).annotations):
        return uncertain
    raise SegkitError(_nothing_fits(path, asked, failures), value=str(path), choices=DATASET_FORMAT_REGISTRY.names())


def _nested(path: Path) -> Iterator[Path]:
    """A folder; if its only content is one folder, that one too, and so on."""
    yield path
    for _ in range(MAX_NESTING):
        if not path.is_dir() or files_in(path, limit=1):
            return
        inside = sub_folders(path, 2)
        if len(inside) != 1:
            return
        path = inside[0]
        yield path


def _recognizers() -> dict[str, type[Dataset]]:
    """The formats that recognise their data, by name."""
    found = {}
    for name, component in DATASET_FORMAT_REGISTRY:
        is_format = inspect.isclass(component) and issubclass(component, Dataset)
        if is_format and component.recognize.__func__ is not Dataset.recognize.__func__:  # type: ignore[attr-defined]
            found[name] = component
    return found


def _recognitions(
    path: Path, asked: Mapping[str, type[Dataset]], failures: dict[str, Exception]
) -> Iterator[Recognition]:
    """The answers of the formats; the errors of those that fail are collected."""
    for name, component in asked.items():
        started = time.monotonic()
        try:
            recognition = component.recognize(path)
        except Exception as error:  # one format's mistake must not hide the others' answers
            logger.debug("%s: the format %s failed to look at it", path, name, exc_info=True)
            failures[name] = error
            continue
        if (seconds := time.monotonic() - started) > SLOW_SECONDS:
            logger.debug("%s: the format %s looked at it for %.1f s", path, name, seconds)
        if recognition is not None:
            yield recognition


def _nothing_fits(path: Path, asked: Mapping[str, type[Dataset]], failures: Mapping[str, Exception]) -> str:
    """The message when no format fits: what was seen, and what the formats that come near expect."""
    seen = FolderContents.of(path)
    expected = {name: cls.expected or first_line(cls).rstrip(".") for name, cls in asked.items()}
    near = [name for name, text in expected.items() if _comes_near(text.lower(), seen)]
    if len(asked) == 1:
        lines = [f"{path}: is no data set of the format {next(iter(asked))}; seen: {seen.describe()}; expected:"]
        lines += list(expected.values())
    else:
        lines = [f"{path}: no data format fits; seen: {seen.describe()}"]
        if near:
            lines += ["formats that come near expect:", *(f"  {name}: {expected[name]}" for name in near)]
        else:
            lines.append(f"formats: {', '.join(sorted(expected))}")
        if seen.annotations:
            lines.append(
                f"files that may be annotations: {first_few(seen.annotations, 3)}; without them the images would be read by "
                "{format: image_folder, root: ...}"
            )
    lines += [f"  {name} failed to look at it: {error}" for name, error in failures.items()]
    return "\n".join(lines)


def _comes_near(expected: str, seen: FolderContents) -> bool:
    """Whether a description of files names a suffix that was seen, other than those of images, or a folder."""
    words = set(re.findall(r"\w+", expected))
    suffixes = {suffix.lstrip(".") for suffix in seen.suffixes if suffix not in IMAGE_SUFFIXES}
    return bool(words & suffixes) or any(f"{name.lower()}/" in expected for name in seen.folders)
