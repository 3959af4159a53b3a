"""Opens the data that a suggestion is for: training split and own validation split."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segkit.config.spec import to_plain
from segkit.data.formats import build_dataset, register_dataset
from segkit.data.formats.base import Dataset
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.suggest.validation import OwnValidation, choose_train_split, choose_val_split
from segkit.utils.errors import SegkitError

DataSource = str | os.PathLike[str] | Mapping[str, Any] | Dataset


@dataclass(frozen=True)
class Source:
    """The data that a suggestion is for.

    Attributes:
        train: the training data set.
        spec: of ``data.train``.
        val: the data's own validation split; None: there is none.
        reason: what the data were taken for, and why.
        name: a short name, for folders.
        tiled: whether the images are tiles of larger ones.
    """

    train: Dataset
    spec: Mapping[str, Any]
    val: OwnValidation | None
    reason: str
    name: str
    tiled: bool = False


def open_source(data: DataSource, format: str | None = None) -> Source:
    """Opens the data of a suggestion.

    Args:
        data: a folder or file, a spec as in a configuration, or a data set.
        format: of a folder or file; None: recognised by content.
    Raises:
        SegkitError: the data cannot be read.
    """
    if isinstance(data, Dataset):
        register_dataset("suggested", lambda: data)
        spec = {"format": "catalog", "name": "suggested"}
        return Source(data, spec, None, f"{data.describe()}: a data set of this program", "data")
    if isinstance(data, Mapping):
        dataset = build_dataset(data, path="data")
        plain = _with_absolute_paths(dict(to_plain(data)))
        return Source(dataset, plain, None, f"{plain.get('format')}: as given", _short_name(plain))
    path = os.fspath(data)
    opened = open_data(path, format)
    names = list(opened.splits)
    name = choose_train_split(names)
    val_name = choose_val_split([other for other in names if other != name])
    val = None if val_name is None else opened.splits[val_name]
    train = opened.splits[name]
    if val is not None and list(val.classes) != list(train.classes):
        lacking = sorted(set(train.classes) ^ set(val.classes))
        raise SegkitError(
            f"{path}: the classes of the splits '{name}' and '{val_name}' differ, in {', '.join(lacking) or 'their order'}; "
            "give both the same classes, or one spec with data.train and data.val in a configuration",
            key="data.val",
        )
    own = None
    if val is not None and val_name is not None and len(val):
        own = OwnValidation(val_name, _with_absolute_paths(dict(to_plain(opened.specs[val_name]))), len(val))
    return Source(
        train,
        _with_absolute_paths(dict(to_plain(opened.specs[name]))),
        own,
        opened.reason,
        os.path.basename(os.path.abspath(path)) or "data",
    )


def _with_absolute_paths(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with paths that exist made absolute, so that the configuration works from any folder."""
    return {
        key: os.path.abspath(value) if isinstance(value, str) and key != "format" and os.path.exists(value) else value
        for key, value in spec.items()
    }


def _short_name(spec: Mapping[str, Any]) -> str:
    for key, value in spec.items():
        if isinstance(value, str) and key != "format" and os.path.exists(value):
            return os.path.splitext(os.path.basename(os.path.abspath(value)))[0]
    return str(spec.get("format", "data"))
