"""The data sets of a run, from its configuration."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch

from segkit.config.schema import Config, SplitConfig
from segkit.data import (
    Dataset,
    build_dataset,
    build_test_loader,
    build_train_loader,
    build_transforms,
    split_dataset,
)
from segkit.registry import SAMPLER_REGISTRY
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """What is trained and evaluated on; ``train`` is None in an evaluation, ``val`` where there is none.

    Attributes:
        classes: name of each label, the same in both.
        category_ids: the files' id of each label.
    """

    train: Dataset | None
    val: Dataset | None
    classes: list[str]
    category_ids: list[int]


def build_data(cfg: Config, *, eval_only: bool = False) -> RunData:
    """Opens the data sets and says in the log what is in them.

    Raises:
        SegkitError: no images, nothing to evaluate on, or classes that are not the configuration's or not the same in
            training and validation (with the names that differ).
    """
    spec = cfg.data.val
    split = spec if isinstance(spec, SplitConfig) else None
    if eval_only and spec is None:
        raise SegkitError("data.val is null, so there is nothing to evaluate on", key="data.val")
    train: Dataset | None = None
    val: Dataset | None = None
    classes = list(cfg.data.classes) if cfg.data.classes is not None else None
    category_ids: list[int] | None = None
    if split is not None or not eval_only:
        train = build_dataset(cfg.data.train, classes, path="data.train")
        _check_images(train, "data.train")
        classes, category_ids = list(train.classes), list(train.category_ids)
    if split is not None:
        assert train is not None
        train, val = split_dataset(train, split.from_train, split.seed, split.stratify)
    elif spec is not None:
        assert not isinstance(spec, SplitConfig)
        val = build_dataset(spec, classes, category_ids, path="data.val")
        _check_images(val, "data.val")
        classes = classes or list(val.classes)
        category_ids = category_ids or list(val.category_ids)
    assert classes is not None and category_ids is not None
    if not classes:
        raise SegkitError("the training data has no classes", key="data.train")
    for title, dataset in (("training data", None if eval_only else train), ("validation data", val)):
        if dataset is not None:
            logger.info("%s: %s", title, dataset.summary())
    return RunData(None if eval_only else train, val, classes, category_ids)


def train_loader(cfg: Config, dataset: Dataset, device: torch.device, start_iteration: int = 0) -> Any:
    """Endless training batches from iteration ``start_iteration`` on."""
    runtime = {"dataset": dataset, "num_samples": len(dataset), "seed": cfg.train.seed}
    return build_train_loader(
        dataset,
        build_transforms(cfg.data.train_transforms, path="data.train_transforms"),
        sampler=SAMPLER_REGISTRY.build(cfg.data.sampler, path="data.sampler", **runtime),
        batch_size=cfg.data.batch_size,
        seed=cfg.train.seed,
        num_workers=cfg.data.num_workers,
        start_iteration=start_iteration,
        pin_memory=device.type == "cuda",
    )


def val_loader(cfg: Config, dataset: Dataset, device: torch.device) -> Any:
    """The validation data once through, with ground truth."""
    transforms = build_transforms(cfg.data.test_transforms, path="data.test_transforms")
    return build_test_loader(
        dataset,
        transforms,
        batch_size=cfg.data.test_batch_size,
        num_workers=cfg.data.num_workers,
        pin_memory=device.type == "cuda",
    )


def _check_images(dataset: Dataset, path: str) -> None:
    if len(dataset) == 0:
        raise SegkitError(f"{path}: there are no images in it ({dataset.describe()})", key=path)
