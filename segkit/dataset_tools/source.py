"""Opens the data set that a command names: a folder, a file, or a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.loader import load_config
from segkit.config.schema import Config, SplitConfig
from segkit.config.spec import to_plain
from segkit.data import split_dataset
from segkit.data.formats import Dataset, PartialAnnotation, SubsetDataset, build_dataset, recognize
from segkit.data.reader import build_reader
from segkit.engine.datasets import partial_annotation
from segkit.engine.recognized_data import with_recognized_data
from segkit.registry import META_ARCH_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import ImageReader
from segkit.utils.paths import local_path


@dataclass(frozen=True)
class OpenedData:
    """The data sets behind an argument.

    Attributes:
        splits: each split by its name (``train``, ``val``, ...); one called ``all`` if the data have none.
        specs: the spec of each split.
        reason: which format it was taken for, and why.
        evaluators: specs of the configuration's evaluators; None without a configuration.
        class_agnostic: whether the configuration's model predicts no classes.
    """

    splits: Mapping[str, Dataset]
    specs: Mapping[str, Mapping[str, Any]]
    reason: str
    evaluators: Sequence[Mapping[str, Any]] | None = None
    class_agnostic: bool = False

    def split(self, name: str | None, source: str) -> Dataset:
        """Returns the split to evaluate on.

        Args:
            name: of the split; None: ``val``, or the only one.
            source: the data, for messages.
        Raises:
            SegkitError: there is no such split.
        """
        if name is None and "val" not in self.splits and len(self.splits) > 1:
            raise SegkitError(
                f"{source} has no split val; name one with --split: {', '.join(self.splits)}", key="split"
            )
        name = name or ("val" if "val" in self.splits else next(iter(self.splits)))
        if name not in self.splits:
            raise SegkitError(
                f"{source} has no split '{name}'{did_you_mean(name, self.splits)}", key="split", value=name
            )
        return self.splits[name]


@dataclass(frozen=True)
class ConfiguredData:
    """What a configuration says about its data sets.

    Attributes:
        specs: of ``train`` and ``val``; validation images that are taken from the training data have none.
        classes: the model's; None: those of the training data.
        reader: reads the image files, with the configuration's planes and channels; of any number of channels if it
            chooses none. Limits of intensities may have to be measured first, and do not matter here.
        partial: what is not annotated.
        split: how validation images are taken from the training data; None: they are not.
        evaluators: specs of the evaluators.
        class_agnostic: whether the model predicts no classes.
    """

    specs: Mapping[str, Mapping[str, Any]]
    classes: Sequence[str] | None
    reader: ImageReader
    partial: PartialAnnotation
    split: SplitConfig | None
    evaluators: Sequence[Mapping[str, Any]] = ()
    class_agnostic: bool = False

    def divide(self, train: Dataset) -> dict[str, SubsetDataset]:
        """The training and validation images of the training data; empty without ``split``."""
        if self.split is None:
            return {}
        split = self.split
        parts = split_dataset(train, split.from_train, split.seed, split.stratify, split.group)
        return dict(zip(("train", "val"), parts, strict=True))


def open_data(source: str, format: str | None = None, *, reader: ImageReader | None = None) -> OpenedData:
    """Opens a folder or file of any format, with all its splits.

    Args:
        source: the path; that of a configuration, or of a run, stands for its ``data.train`` and ``data.val``.
        format: name of the format; None: recognised by content.
        reader: reads the image files; None: one that takes any number of channels, with a configuration's planes and
            channels.
    Raises:
        SegkitError: the data cannot be recognised or read.
    """
    path = local_path(source, "data set")
    configured = None if format is not None else configured_data(path)
    if configured is not None:
        return _open_configured(configured, source, reader)
    reader = reader or ImageReader(channels="any")
    found = recognize(path, format)
    specs = dict(found.splits) or {"all": found.spec}
    splits = {name: build_dataset(spec, reader=reader, path=f"{source}, {name}") for name, spec in specs.items()}
    return OpenedData(splits, specs, f"{found.spec['format']}: {found.reason}")


def _configuration(path: Path) -> Config | None:
    """The configuration in a YAML file or the folder of a run; None if it is another, as the ``data.yaml`` of YOLO."""
    if (path / "config.yaml").is_file() and (path / "metrics.json").is_file():
        path = path / "config.yaml"
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    if not any(line.startswith(("_BASE_:", "data:")) for line in lines):
        return None
    return load_config(path)


def configured_data(path: Path) -> ConfiguredData | None:
    """The data of a configuration; None if the file is something else."""
    cfg = _configuration(path)
    if cfg is None:
        return None
    data = with_recognized_data(cfg).data
    split = data.val if isinstance(data.val, SplitConfig) else None
    own = {"train": data.train, "val": None if split else data.val}
    configured = build_reader(data)
    return ConfiguredData(
        {name: to_plain(spec) for name, spec in own.items() if spec is not None},
        data.classes,
        ImageReader(configured.planes, "any" if configured.channels is None else configured.channels),
        partial_annotation(cfg),
        split,
        [to_plain(spec) for spec in cfg.evaluators],
        META_ARCH_REGISTRY.get(cfg.model["name"]).class_agnostic,
    )


def _open_configured(data: ConfiguredData, source: str, reader: ImageReader | None) -> OpenedData:
    reader, specs = reader or data.reader, dict(data.specs)
    train = build_dataset(specs["train"], data.classes, reader=reader, partial=data.partial, path="data.train")
    splits: dict[str, Dataset] = {"train": train, **data.divide(train)}
    if "val" in specs:
        splits["val"] = build_dataset(
            specs["val"], train.classes, train.category_ids, reader=reader, partial=data.partial, path="data.val"
        )
    elif "val" in splits:
        specs["val"] = specs["train"]
    reason = f"data.train and data.val of the configuration {source}"
    return OpenedData(splits, specs, reason, data.evaluators, data.class_agnostic)
