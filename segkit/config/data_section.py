"""The keys under ``data``: data sets, transforms, batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from segkit.config.help import Help
from segkit.config.spec import Spec
from segkit.config.typecheck import Bounds
from segkit.registry import (
    DATASET_FORMAT_REGISTRY,
    INTENSITY_REGISTRY,
    SAMPLER_REGISTRY,
    TRANSFORM_REGISTRY,
    Slot,
    SlotList,
)


def _specs(*specs: Spec) -> Any:
    return field(default_factory=lambda: specs)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """``data.val`` as a part of the training data set, which is then not trained on."""

    from_train: Annotated[float, Bounds(0, 1, True, True), Help("fraction of the training images used for validation")]
    seed: Annotated[int, Bounds(0), Help("seed of the split")] = 42
    stratify: Annotated[bool, Help("keep the proportions of the classes in both parts")] = True
    group: Annotated[
        str | None,
        Help(
            "regular expression on the images' names: images in which it finds the same text (of its first group) stay in "
            "one part, as '(patient\\d+)_'; null: each image by itself"
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PlanesConfig:
    """``data.planes``: the plane of image files that hold several."""

    page: Annotated[
        int | None, Bounds(0), Help("index of the page where pages have no known meaning; null: files have one")
    ] = None
    time: Annotated[int | None, Bounds(0), Help("index of the time point; null: files have one")] = None
    z: Annotated[
        int | Literal["max", "mean"] | None,
        Bounds(0),
        Help("index of the z plane, or max or mean over all of them; null: files have one"),
    ] = None
    scene: Annotated[int | None, Bounds(0), Help("index of the scene (position, series); null: files have one")] = None


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``data``: the data sets, their transforms and batches."""

    train: Annotated[
        Spec,
        Slot(DATASET_FORMAT_REGISTRY),
        Help(
            "training data set: {format: label_map, root: DIR}, ..., or the path of a folder or file of any format, whose "
            "validation split is data.val unless that is set"
        ),
    ]
    val: Annotated[
        Spec | SplitConfig | None,
        Slot(DATASET_FORMAT_REGISTRY),
        Help(
            "validation data set or its path, or {from_train: 0.1}; null: train on all data, no evaluation, no best checkpoint"
        ),
    ] = None
    classes: Annotated[
        tuple[str, ...] | None,
        Help("class names in label order; null: read from the data, and written into the saved config"),
    ] = None
    planes: Annotated[PlanesConfig, Help("the plane of image files that hold several")] = field(
        default_factory=PlanesConfig
    )
    channels: Annotated[
        tuple[int | str, ...] | Literal["all"] | None,
        Help(
            "channels of the image files by number (from 0) or name, in the model's order; all; null: grey or colours as RGB"
        ),
    ] = None
    intensity: Annotated[
        Spec, Slot(INTENSITY_REGISTRY), Help("how samples of more than 8 bits become intensities from 0 to 1")
    ] = field(default_factory=lambda: Spec(name="percentile"))
    measure_pixel_stats: Annotated[
        bool, Help("measure model.pixel_mean and pixel_std on the training data; the saved config has the numbers")
    ] = False
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
    cache: Annotated[
        Literal["memory", "disk"] | None,
        Help("keep decoded images in memory for the run, or in the cache folder on disk; null: decode them each time"),
    ] = None
    cache_gb: Annotated[float, Bounds(0, open_low=True), Help("size of data.cache at most, in GB")] = 4.0
    sampler: Annotated[
        Spec, Slot(SAMPLER_REGISTRY), Help("which training images make up an epoch, and their order")
    ] = field(default_factory=lambda: Spec(name="ShuffleSampler"))
    aspect_ratio_grouping: Annotated[
        bool,
        Help("batch wide and tall images separately: less padding if transforms keep the images' shapes"),
    ] = False
