"""Opens and checks the data sets of a run, and builds their loaders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from segkit.config.schema import Config, SplitConfig
from segkit.data import (
    Dataset,
    PartialAnnotation,
    build_dataset,
    build_test_loader,
    build_train_loader,
    build_transforms,
    split_dataset,
)
from segkit.data.loader import TestLoader, TrainLoader
from segkit.data.measuring import measured_values
from segkit.data.reader import build_reader
from segkit.data.transforms import Compose, InvertibleCompose
from segkit.engine.channel_checks import check_channels
from segkit.engine.data_checks import check_training_objects, check_validation_objects
from segkit.engine.missing_masks import check_masks_for_transforms, check_masks_to_evaluate
from segkit.inference.pipeline import evaluation_transforms
from segkit.registry import SAMPLER_REGISTRY
from segkit.utils import distributed
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """The data sets of a run.

    Attributes:
        train: None in an evaluation.
        val: None if ``data.val`` is null.
        classes: name of each label, the same in both.
        category_ids: the training files' id of each label.
        train_transforms: those of ``data.train_transforms``; None in an evaluation.
        measured: values of the configuration that were measured on the training data, by key path.
    """

    train: Dataset | None
    val: Dataset | None
    classes: list[str]
    category_ids: list[int]
    train_transforms: Compose | None = None
    measured: dict[str, Any] = field(default_factory=dict)


def build_data(
    cfg: Config,
    *,
    eval_only: bool = False,
    classes: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
) -> RunData:
    """Opens the data sets, logs what is in them, and checks them.

    Args:
        cfg: sections ``data`` and ``evaluators`` are used.
        eval_only: open the validation data only, and the training data where labels or a split need them.
        classes: class names of the checkpoint to evaluate, so that its labels keep their meaning. Without them
            ``data.train`` is opened for its classes.
        category_ids: of the same checkpoint.
    Raises:
        SegkitError: a data set has no images; the classes differ between configuration, training and validation (the
            message names them); or one of the checks of :func:`check_data` fails.
    """
    spec = cfg.data.val
    split = spec if isinstance(spec, SplitConfig) else None
    if eval_only:
        check_something_to_evaluate_on(cfg)
    reader = build_reader(cfg.data)
    train: Dataset | None = None
    val: Dataset | None = None
    if cfg.data.classes is not None:
        if list(cfg.data.classes) != list(classes or ()):
            category_ids = None  # they belong to other names
        classes = list(cfg.data.classes)
    if split is not None or not eval_only or classes is None or category_ids is None:
        train = _open(cfg, cfg.data.train, classes, category_ids, reader, "data.train")
        classes, category_ids = list(train.classes), list(train.category_ids)
    if split is not None:
        assert train is not None
        train, val = split_dataset(train, split.from_train, split.seed, split.stratify, split.group)
    elif spec is not None:
        assert not isinstance(spec, SplitConfig)
        val = _open(cfg, spec, classes, category_ids, reader, "data.val")
    assert classes is not None and category_ids is not None
    if not classes:
        where = f" in the {train.describe()}" if train is not None else ""
        raise SegkitError(f"data.train: there are no classes, and so no annotations{where}", key="data.train")
    if eval_only:
        data = RunData(None, val, list(classes), list(category_ids))
    else:
        assert train is not None
        transforms = build_transforms(cfg.data.train_transforms, path="data.train_transforms")
        measured = measured_values(cfg, train)
        cfg = cfg.with_values(measured, "measured on the training data")
        data = RunData(train, val, list(classes), list(category_ids), transforms, measured)
    final_reader = build_reader(cfg.data, cache=True)
    for dataset in (data.train, data.val):
        if dataset is not None:
            dataset.reader = final_reader
    for title, dataset in (("training data", data.train), ("validation data", data.val)):
        if dataset is not None:
            logger.info("%s: %s", title, dataset.summary())
    check_data(cfg, data)
    if final_reader.cache is not None and data.train is not None and distributed.is_main():
        logger.info("data.cache: %s", final_reader.cache.capacity(len(data.train) + len(data.val or ())))
    return data


def check_data(cfg: Config, data: RunData) -> None:
    """Runs all checks of a run's data, in the first of several processes.

    Warns of objects that are lost in reading, of validation data without objects, and of training images among the
    validation images.

    Raises:
        SegkitError: model or transforms do not take the images' channels; no object is left to train on; a transform or
            an evaluator needs masks and no object has one; or ``data.test_transforms`` cannot be inverted.
    """
    if not distributed.is_main():
        return
    for dataset, path in ((data.train, "data.train"), (data.val, "data.val")):
        if dataset is not None:
            check_channels(cfg, dataset, data.train_transforms if path == "data.train" else None, path=path)
    if data.train is not None:
        assert data.train_transforms is not None
        skip = cfg.data.unreadable == "skip"
        check_training_objects(data.train, data.train_transforms, seed=cfg.train.seed, skip_unreadable=skip)
        check_masks_for_transforms(data.train, data.train_transforms)
    if data.val is not None:
        check_validation_objects(data.val, data.train)
        check_masks_to_evaluate(data.val, cfg.evaluators)
    else:
        # Validation data check them when they are loaded; without, the first error would be in a later prediction.
        InvertibleCompose(build_transforms(cfg.data.test_transforms, path="data.test_transforms"))


def check_something_to_evaluate_on(cfg: Config) -> None:
    """Raises SegkitError if ``data.val`` is null."""
    if cfg.data.val is None:
        raise SegkitError("data.val is null, so there is nothing to evaluate on", key="data.val")


def checkpoint_labels(content: Mapping[str, Any]) -> tuple[list[str] | None, list[int] | None]:
    """Returns classes and category ids of a checkpoint; None, None if it lacks one of the two."""
    classes, category_ids = content.get("classes"), content.get("category_ids")
    return (list(classes), list(category_ids)) if classes and category_ids else (None, None)


def train_loader(cfg: Config, data: RunData, device: torch.device) -> TrainLoader:
    """Returns the endless loader of this process's share of the training batches."""
    assert data.train is not None and data.train_transforms is not None
    runtime = {"dataset": data.train, "num_samples": len(data.train), "seed": cfg.train.seed}
    return build_train_loader(
        data.train,
        data.train_transforms,
        sampler=SAMPLER_REGISTRY.build(cfg.data.sampler, path="data.sampler", **runtime),
        batch_size=cfg.data.batch_size,
        seed=cfg.train.seed,
        num_workers=cfg.data.num_workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        aspect_ratio_grouping=cfg.data.aspect_ratio_grouping,
        pin_memory=device.type == "cuda",
        accumulate=cfg.train.accumulate,
        skip_unreadable=cfg.data.unreadable == "skip",
    )


def val_loader(cfg: Config, data: RunData, device: torch.device, *, whole: bool = False) -> TestLoader:
    """Returns the loader of this process's share of the validation data; ``whole``: of all."""
    assert data.val is not None
    return build_test_loader(
        data.val,
        evaluation_transforms(cfg),
        batch_size=cfg.data.test_batch_size,
        num_workers=cfg.data.num_workers,
        pin_memory=device.type == "cuda",
        rank=0 if whole else distributed.rank(),
        world_size=1 if whole else distributed.world_size(),
    )


def partial_annotation(cfg: Config) -> PartialAnnotation:
    """Returns what is not annotated in the data, as section ``data`` says."""
    data = cfg.data
    return PartialAnnotation(data.ignore_classes, data.annotated_region_class, data.not_exhaustive)


def _open(
    cfg: Config,
    spec: Mapping[str, Any],
    classes: Sequence[str] | None,
    category_ids: Sequence[int] | None,
    reader: ImageReader,
    path: str,
) -> Dataset:
    dataset = build_dataset(spec, classes, category_ids, reader=reader, partial=partial_annotation(cfg), path=path)
    if len(dataset) == 0:
        raise SegkitError(f"{path}: the data set has no images ({dataset.describe()})", key=path)
    return dataset
