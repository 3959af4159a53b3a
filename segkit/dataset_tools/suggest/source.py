"""Opens the data that a suggestion is for: training split and own validation split."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.config.loader import load_config
from segkit.config.nodes import COMMAND_LINE
from segkit.config.overrides import parse_overrides
from segkit.config.spec import to_plain
from segkit.data import PartialAnnotation
from segkit.data.formats import build_dataset, register_dataset
from segkit.data.formats.base import Dataset
from segkit.data.formats.partial import PartiallyAnnotated
from segkit.data.reader import build_reader
from segkit.dataset_tools.source import OpenedData, configured_data, open_data
from segkit.dataset_tools.suggest.validation import OwnValidation, choose_train_split, choose_val_split
from segkit.engine.datasets import partial_annotation
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader

DataSource = str | os.PathLike[str] | Mapping[str, Any] | Dataset
NO_PATHS = ("format", "name", "split")  # keys of specs that are no path, although a file may have that name
REGION_KEYS = ("data.ignore_classes", "data.annotated_region_class", "data.not_exhaustive")
READING_KEYS = ("data.planes", "data.channels", *REGION_KEYS)
# Names of categories, without case, spaces and signs, that mark regions: KITTI's DontCare, VisDrone's "ignored regions".
IGNORED = re.compile(r"(ignored?|unlabell?ed)((region|area)s?)?|crowds?|dontcare")


@dataclass(frozen=True)
class Source:
    """The data that a suggestion is for.

    Attributes:
        train: the training data set.
        spec: of ``data.train``.
        val: the data's own validation split; None: there is none.
        reason: what the data were taken for, and why.
        name: a short name, for folders.
        partial: what is not annotated.
        tiled: whether the images are tiles of larger ones.
    """

    train: Dataset
    spec: Mapping[str, Any]
    val: OwnValidation | None
    reason: str
    name: str
    partial: PartialAnnotation = field(default_factory=PartialAnnotation)
    tiled: bool = False

    def open(self, spec: Mapping[str, Any], path: str) -> Dataset:
        """Opens other data with the classes, the reader and the regions of the training data.

        Args:
            spec: of the data.
            path: its key path, for messages.
        """
        train = self.train
        return build_dataset(
            spec, train.classes, train.category_ids, reader=train.reader, partial=self.partial, path=path
        )


def open_source(data: DataSource, format: str | None = None, *, overrides: Sequence[str] = ()) -> Source:
    """Opens the data of a suggestion.

    Args:
        data: a folder or file, a spec as in a configuration, or a data set.
        format: of a folder or file; None: recognised by content.
        overrides: texts ``KEY=VALUE``; those of ``READING_KEYS`` apply.
    Raises:
        SegkitError: the data cannot be read, or are a configuration.
    """
    reader, given = _reading(overrides)
    if isinstance(data, Dataset):
        register_dataset("suggested", lambda: data)
        data.reader = reader
        name, spec = "data", {"format": "catalog", "name": "suggested"}
        opened = OpenedData({"train": data}, {"train": spec}, f"{data.describe()}: a data set of this program")
    elif isinstance(data, Mapping):
        spec, paths = to_plain(data), _paths(data)
        name = name_of(next(iter(paths.values()))) if paths else str(spec.get("format"))
        dataset = build_dataset(spec, reader=reader, path="data")
        opened = OpenedData({"train": dataset}, {"train": {**spec, **paths}}, f"{spec['format']}: as given")
    else:
        name, opened = name_of(os.fspath(data)), _open_path(os.fspath(data), format, reader)
    split = choose_train_split(list(opened.splits))
    train, spec = opened.splits[split], to_plain(opened.specs[split])
    partial = _regions(train.classes, given)
    train, own = _annotated_in_part(train, partial), None
    val_split = choose_val_split([other for other in opened.splits if other != split])
    if val_split is not None:
        val = _annotated_in_part(opened.splits[val_split], partial, optional=True)
        _check_classes(name, {split: train, val_split: val})
        if len(val):
            own = OwnValidation(val_split, to_plain(opened.specs[val_split]), len(val))
    return Source(train, spec, own, opened.reason, name, partial)


def _open_path(path: str, format: str | None, reader: ImageReader) -> OpenedData:
    """The data of a folder or file; their specs have absolute paths, so that they work from any folder."""
    if format is None and configured_data(Path(path)) is not None:
        raise SegkitError(
            f"'{path}' is a configuration: segkit train {path} trains it; to suggest another one, give its data",
            value=path,
        )
    return open_data(os.path.abspath(path) if os.path.exists(path) else path, format, reader=reader)


def name_of(path: str) -> str:
    """The name of a folder, or that of a file without its suffix."""
    name = os.path.basename(os.path.abspath(path)) or "data"
    return os.path.splitext(name)[0] if os.path.isfile(path) else name


def _reading(overrides: Sequence[str]) -> tuple[ImageReader, PartialAnnotation | None]:
    """Reader and regions as overrides say; None: they do not say what is not annotated."""
    values = {key: node.plain() for key, node in parse_overrides(overrides) if key.startswith(READING_KEYS)}
    if not values:
        return ImageReader(channels="any"), None
    cfg = load_config("segkit://quickstart.yaml").with_values(values, COMMAND_LINE)
    planes, channels = build_reader(cfg.data).planes, cfg.data.channels
    regions = partial_annotation(cfg) if any(key.startswith(REGION_KEYS) for key in values) else None
    return ImageReader(planes, "any" if channels is None else channels), regions


def _regions(classes: Sequence[str], given: PartialAnnotation | None) -> PartialAnnotation:
    """What is not annotated: as given, else the categories whose names say that they are regions to ignore."""
    if given is not None:
        return given
    named = tuple(name for name in classes if IGNORED.fullmatch(re.sub(r"[\W_]", "", name.lower())))
    return PartialAnnotation(named if len(named) < len(classes) else ())


def _annotated_in_part(dataset: Dataset, partial: PartialAnnotation, *, optional: bool = False) -> Dataset:
    return PartiallyAnnotated(dataset, partial, optional=optional) if partial else dataset


def _check_classes(name: str, splits: Mapping[str, Dataset]) -> None:
    """Raises a SegkitError if the two splits have different classes."""
    (split, train), (val_split, val) = splits.items()
    if list(val.classes) != list(train.classes):
        lacking = sorted(set(train.classes) ^ set(val.classes))
        raise SegkitError(
            f"{name}: the classes of the splits '{split}' and '{val_split}' differ, in {', '.join(lacking) or 'their order'}; "
            "give both the same classes, or one spec with data.train and data.val in a configuration",
            key="data.val",
        )


def _paths(spec: Mapping[str, Any]) -> dict[str, str]:
    """The arguments that are paths, made absolute, so that the configuration works from any folder."""
    texts = {key: value for key, value in spec.items() if isinstance(value, str) and key not in NO_PATHS}
    return {key: os.path.abspath(value) for key, value in texts.items() if os.path.exists(value)}
