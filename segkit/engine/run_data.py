"""The data sets of a run, from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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
from segkit.data.transforms import InvertibleCompose
from segkit.engine.check_objects import check_training_objects, check_validation_objects
from segkit.engine.missing_masks import check_masks_for_transforms, check_masks_to_evaluate
from segkit.registry import SAMPLER_REGISTRY
from segkit.utils import distributed
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


def build_data(
    cfg: Config,
    *,
    eval_only: bool = False,
    classes: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
) -> RunData:
    """Opens the data sets and says in the log what is in them.

    Args:
        classes, category_ids: for an evaluation, those of the checkpoint, so that its labels mean what they meant in
            the training whatever the validation files happen to contain. Without them data.train is asked.
    Raises:
        SegkitError: no images, nothing to evaluate on, no mask where masks are to be evaluated, or classes that are not
            the configuration's or not the same in training and validation (with the names that differ).
    """
    spec = cfg.data.val
    split = spec if isinstance(spec, SplitConfig) else None
    if eval_only:
        check_something_to_evaluate_on(cfg)
    train: Dataset | None = None
    val: Dataset | None = None
    if cfg.data.classes is not None:
        if list(cfg.data.classes) != list(classes or ()):
            category_ids = None  # they belong to other names
        classes = list(cfg.data.classes)
    if split is not None or not eval_only or classes is None or category_ids is None:
        train = build_dataset(cfg.data.train, classes, category_ids, path="data.train")
        _check_images(train, "data.train")
        classes, category_ids = list(train.classes), list(train.category_ids)
    if split is not None:
        assert train is not None
        train, val = split_dataset(train, split.from_train, split.seed, split.stratify)
    elif spec is not None:
        assert not isinstance(spec, SplitConfig)
        val = build_dataset(spec, classes, category_ids, path="data.val")
        _check_images(val, "data.val")
    assert classes is not None and category_ids is not None
    if not classes:
        raise SegkitError("the training data has no classes", key="data.train")
    for title, dataset in (("training data", None if eval_only else train), ("validation data", val)):
        if dataset is not None:
            logger.info("%s: %s", title, dataset.summary())
    if val is not None:
        check_masks_to_evaluate(val, cfg.evaluators)
    return RunData(None if eval_only else train, val, list(classes), list(category_ids))


def check_data(cfg: Config, data: RunData) -> None:
    """Warns of what reading lost and of what evaluation lacks; of several processes only the first one looks.

    Raises:
        SegkitError: there is no object to train on.
    """
    if not distributed.is_main():
        return
    if data.train is not None:
        transforms = build_transforms(cfg.data.train_transforms, path="data.train_transforms")
        skip = cfg.data.unreadable == "skip"
        check_training_objects(data.train, transforms, seed=cfg.train.seed, skip_unreadable=skip)
    if data.val is not None:
        check_validation_objects(data.val, data.train)


def check_something_to_evaluate_on(cfg: Config) -> None:
    """SegkitError where ``data.val`` is null."""
    if cfg.data.val is None:
        raise SegkitError("data.val is null, so there is nothing to evaluate on", key="data.val")


def checkpoint_labels(content: Mapping[str, Any]) -> tuple[list[str] | None, list[int] | None]:
    """Classes and category ids that a checkpoint of this content was trained with; None, None without both."""
    classes, category_ids = content.get("classes"), content.get("category_ids")
    return (list(classes), list(category_ids)) if classes and category_ids else (None, None)


def train_loader(cfg: Config, dataset: Dataset, device: torch.device) -> Any:
    """Endless training batches from the first iteration on, or from where ``start_at`` says."""
    runtime = {"dataset": dataset, "num_samples": len(dataset), "seed": cfg.train.seed}
    transforms = build_transforms(cfg.data.train_transforms, path="data.train_transforms")
    check_masks_for_transforms(dataset, transforms)
    return build_train_loader(
        dataset,
        transforms,
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


def check_test_transforms(cfg: Config) -> None:
    """SegkitError if ``data.test_transforms`` cannot be built, or detections cannot be mapped back through them."""
    InvertibleCompose(build_transforms(cfg.data.test_transforms, path="data.test_transforms"))


def val_loader(cfg: Config, dataset: Dataset, device: torch.device, *, whole: bool = False) -> Any:
    """The validation data once through, with ground truth: this process's share, or with ``whole`` all of it."""
    transforms = build_transforms(cfg.data.test_transforms, path="data.test_transforms")
    return build_test_loader(
        dataset,
        transforms,
        batch_size=cfg.data.test_batch_size,
        num_workers=cfg.data.num_workers,
        pin_memory=device.type == "cuda",
        rank=0 if whole else distributed.rank(),
        world_size=1 if whole else distributed.world_size(),
    )


def _check_images(dataset: Dataset, path: str) -> None:
    if len(dataset) == 0:
        raise SegkitError(f"{path}: there are no images in it ({dataset.describe()})", key=path)
