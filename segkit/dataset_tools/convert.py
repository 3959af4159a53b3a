"""Converts a data set of any format to one of the writers' formats."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from segkit.config.typecheck import coerce
from segkit.data.formats import Dataset
from segkit.data.formats.split_names import find_split
from segkit.dataset_tools.source import OpenedData, open_data
from segkit.dataset_tools.writing import WrittenData, check_output, make_output, write_splits
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean


def convert(
    source: str,
    to: str,
    output: str,
    *,
    format: str | None = None,
    splits: Sequence[str] = (),
    link: bool = False,
    options: Mapping[str, Any] | None = None,
    skip_unreadable: bool = False,
) -> WrittenData:
    """Writes a data set in another format.

    Args:
        source: folder or file of the data.
        to: name of the format to write.
        output: a new or empty folder.
        format: of the source; None: recognised by its content.
        splits: which splits to write; empty: all.
        link: make symbolic links to images in place of copies.
        options: of the writer, as ``{"segmentation": "polygon"}``.
        skip_unreadable: skip images that cannot be read; otherwise the first one is an error.
    Raises:
        SegkitError: the data cannot be read, the format cannot be written, or the folder has content.
    """
    spec = writer_spec(to, options or {})
    check_output(output, source)
    chosen = choose_splits(open_data(source, format), splits, source)
    return write_splits(chosen, spec, make_output(output), link=link, skip_unreadable=skip_unreadable)


def writer_spec(to: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a writer.

    Raises:
        SegkitError: there is no such format, or it has no such option.
    """
    names = DATASET_WRITER_REGISTRY.names()
    if to not in names:
        raise SegkitError(f"--to: '{to}' cannot be written{did_you_mean(to, names)}", value=to, choices=names)
    signature = DATASET_WRITER_REGISTRY.signature(to)
    known = signature.options
    checked: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            hint = did_you_mean(key, known) if known else f"; {to} has no options"
            raise SegkitError(f"--to {to}: there is no option '{key}'{hint}", key=key, choices=list(known))
        checked[key] = coerce(value, signature.annotations.get(key, Any), key, f"--to {to}")
    return {"format": to, **checked}


def choose_splits(opened: OpenedData, splits: Sequence[str], source: str) -> dict[str, Dataset]:
    """The data sets of some splits, by name; of all if none is named.

    Raises:
        SegkitError: there is no such split.
    """
    if not splits:
        return dict(opened.splits)
    chosen: dict[str, Dataset] = {}
    for name in splits:
        found = find_split(opened.splits, name)
        if found is None:
            problem = f"no split '{name}'{did_you_mean(name, opened.splits)}"
            if list(opened.splits) == ["all"]:
                problem = "no splits"
            raise SegkitError(f"--split: {source} has {problem}", value=name, choices=list(opened.splits))
        chosen[found] = opened.splits[found]
    return chosen


def describe(written: WrittenData) -> str:
    """What was written and what was lost, for the terminal."""
    splits = ", ".join(f"{name} {count:,}" for name, count in written.images.items())
    images = f"{sum(written.images.values()):,} images" + (f" ({splits})" if list(written.images) != ["all"] else "")
    lines = [f"written to {written.output}: {written.format}, {images}, {written.objects:,} objects"]
    if written.renamed:
        old, new = written.renamed[0]
        lines.append(f"{len(written.renamed):,} images have another name, as {new} for {old}")
    if written.losses:
        rows = [(f"{count:,}", what) for what, count in written.losses.most_common()]
        lines.append(f"what {written.format} cannot hold:")
        lines.append(tabulate(rows, tablefmt="plain", colalign=("right", "left"), disable_numparse=True))
    elif not written.unreadable:
        lines.append("nothing was lost")
    lines += written.unreadable.lines()
    lines.append(f"to train on it: segkit fit {shlex.quote(str(written.output))}")
    return "\n".join(lines)
