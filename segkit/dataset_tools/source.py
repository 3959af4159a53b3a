"""Opens the data set that a command names: a folder, a file, or a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segkit.data.formats import Dataset, build_dataset, recognize
from segkit.utils.paths import local_path


@dataclass(frozen=True)
class OpenedData:
    """The data sets behind an argument.

    Attributes:
        splits: each split by its name (``train``, ``val``, ...); one called ``all`` if the data have none.
        specs: the spec of each split.
        reason: which format it was taken for, and why.
    """

    splits: Mapping[str, Dataset]
    specs: Mapping[str, Mapping[str, Any]]
    reason: str


def open_data(source: str, format: str | None = None) -> OpenedData:
    """Opens a folder or file of any format, with all its splits.

    Args:
        source: the path.
        format: name of the format; None: recognised by content.
    Raises:
        SegkitError: the data cannot be recognised or read.
    """
    found = recognize(local_path(source, "data set"))
    specs = dict(found.splits) or {"all": found.spec}
    splits = {name: build_dataset(spec, path=source) for name, spec in specs.items()}
    return OpenedData(splits, specs, f"{found.spec['format']}: {found.reason}")
