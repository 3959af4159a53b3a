"""Opens the data set that a command names: a folder, a file, or a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.loader import load_config
from segkit.config.schema import Config, SplitConfig
from segkit.config.spec import to_plain
from segkit.data import split_dataset
from segkit.data.formats import Dataset, build_dataset, recognize
from segkit.data.reader import build_reader
from segkit.engine.datasets import partial_annotation
from segkit.engine.recognized_data import with_recognized_data
from segkit.utils.images import ImageReader
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


def open_data(source: str, format: str | None = None, *, reader: ImageReader | None = None) -> OpenedData:
    """Opens a folder or file of any format, with all its splits.

    Args:
        source: the path; that of a configuration stands for its ``data.train`` and ``data.val``.
        format: name of the format; None: recognised by content.
        reader: reads the image files; None: one that takes any number of channels, with a configuration's planes and
            channels.
    Raises:
        SegkitError: the data cannot be recognised or read.
    """
    path = local_path(source, "data set")
    cfg = None if format is not None else _configuration(path)
    if cfg is not None:
        return _of_configuration(cfg, source, reader)
    reader = reader or ImageReader(channels="any")
    found = recognize(path, format)
    specs = dict(found.splits) or {"all": found.spec}
    splits = {name: build_dataset(spec, reader=reader, path=f"{source}, {name}") for name, spec in specs.items()}
    return OpenedData(splits, specs, f"{found.spec['format']}: {found.reason}")


def _configuration(path: Path) -> Config | None:
    """The configuration in a YAML file; None if the file is another, as the ``data.yaml`` of YOLO."""
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    if not any(line.startswith(("_BASE_:", "data:")) for line in lines):
        return None
    return load_config(path)


def configured_specs(path: Path) -> dict[str, Mapping[str, Any]] | None:
    """The specs of ``train`` and ``val`` in a configuration, by split.

    None if the file is something else. A validation split that is taken from the training data has no spec of its own.
    """
    cfg = _configuration(path)
    if cfg is None:
        return None
    data = with_recognized_data(cfg).data
    own = {"train": data.train, "val": None if isinstance(data.val, SplitConfig) else data.val}
    return {name: to_plain(spec) for name, spec in own.items() if spec is not None}


def _of_configuration(cfg: Config, source: str, reader: ImageReader | None) -> OpenedData:
    cfg = with_recognized_data(cfg)
    if reader is None:
        configured = build_reader(cfg.data)
        # Limits of intensities may have to be measured first, and do not matter here.
        reader = ImageReader(configured.planes, "any" if configured.channels is None else configured.channels)
    partial = partial_annotation(cfg)
    classes, val = cfg.data.classes, cfg.data.val
    train = build_dataset(cfg.data.train, classes, reader=reader, partial=partial, path="data.train")
    splits: dict[str, Dataset] = {"train": train}
    specs = {"train": to_plain(cfg.data.train)}
    if isinstance(val, SplitConfig):
        splits["train"], splits["val"] = split_dataset(train, val.from_train, val.seed, val.stratify, val.group)
        specs["val"] = specs["train"]
    elif val is not None:
        splits["val"] = build_dataset(
            val, train.classes, train.category_ids, reader=reader, partial=partial, path="data.val"
        )
        specs["val"] = to_plain(val)
    return OpenedData(splits, specs, f"data.train and data.val of the configuration {source}")
