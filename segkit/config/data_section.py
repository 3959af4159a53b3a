"""The keys under ``data``: data sets, transforms, batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from segkit.config.help import Help
from segkit.config.spec import Spec
from segkit.config.typecheck import Bounds
from segkit.registry import DATASET_FORMAT_REGISTRY, SAMPLER_REGISTRY, TRANSFORM_REGISTRY, Slot, SlotList


def _specs(*specs: Spec) -> Any:
    return field(default_factory=lambda: specs)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """``data.val`` as a part of the training data set, which is then not trained on."""

    from_train: Annotated[float, Bounds(0, 1, True, True), Help("fraction of the training images used for validation")]
    seed: Annotated[int, Bounds(0), Help("seed of the split")] = 42
    stratify: Annotated[bool, Help("keep the proportions of the classes in both parts")] = True


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``data``: the data sets, their transforms and batches."""

    train: Annotated[
        Spec, Slot(DATASET_FORMAT_REGISTRY), Help("training data set: {format: label_map, root: DIR}, ...")
    ]
    val: Annotated[
        Spec | SplitConfig | None,
        Slot(DATASET_FORMAT_REGISTRY),
        Help("validation data set, or {from_train: 0.1}; null: train on all data, no evaluation, no best checkpoint"),
    ] = None
    classes: Annotated[
        tuple[str, ...] | None,
        Help("class names in label order; null: read from the data, and written into the saved config"),
    ] = None
    ignore_classes: Annotated[
        tuple[str, ...],
        Help("categories whose objects are ignore regions: nothing is learnt or evaluated there"),
    ] = ()
    annotated_region_class: Annotated[
        str | None,
        Help(
            "category of the annotated regions: outside of its objects an image is an ignore region; null: no such category"
        ),
    ] = None
    not_exhaustive: Annotated[
        tuple[str, ...],
        Help("classes that are not annotated everywhere: what is not annotated is no evidence against them"),
    ] = ()
    train_transforms: Annotated[
        tuple[Spec, ...], SlotList(TRANSFORM_REGISTRY), Help("transforms of training images, in order")
    ] = _specs(
        Spec(name="RandomHorizontalFlip", p=0.5),
        Spec(name="ResizeShortestEdge", sizes=[800], max_size=1333),
    )
    test_transforms: Annotated[
        tuple[Spec, ...], SlotList(TRANSFORM_REGISTRY), Help("transforms for evaluation and prediction, in order")
    ] = _specs(Spec(name="ResizeShortestEdge", sizes=[800], max_size=1333))
    batch_size: Annotated[
        int, Bounds(1), Help("training images per batch, over all processes; a step takes train.accumulate batches")
    ] = 4
    test_batch_size: Annotated[int, Bounds(1), Help("images per batch of the evaluation")] = 1
    num_workers: Annotated[
        int, Bounds(0), Help("loader processes; their number changes the speed, never the batches")
    ] = 2
    unreadable: Annotated[
        Literal["stop", "skip"],
        Help(
            "a training image that cannot be read: stop with an error that names it, or skip it for the next one and count it"
        ),
    ] = "stop"
    sampler: Annotated[
        Spec, Slot(SAMPLER_REGISTRY), Help("which training images make up an epoch, and their order")
    ] = field(default_factory=lambda: Spec(name="ShuffleSampler"))
    aspect_ratio_grouping: Annotated[
        bool,
        Help("batch wide and tall images separately: less padding if transforms keep the images' shapes"),
    ] = False
