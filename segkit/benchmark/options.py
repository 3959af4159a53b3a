"""Options of a benchmark. Imports no torch, so that ``--help`` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from segkit.utils.errors import SegkitError, did_you_mean

# A part is a module with DEFAULTS (of some of the Options) and ``run(options) -> Report``; add yours here.
PARTS = {
    "train": "segkit.benchmark.train",
    "infer": "segkit.benchmark.infer",
    "data": "segkit.benchmark.data",
    "masks": "segkit.benchmark.masks",
    "postprocess": "segkit.benchmark.postprocess",
    "tiles": "segkit.benchmark.tiles",
    "stream": "segkit.benchmark.stream",
    "evaluate": "segkit.benchmark.evaluate",
    "annotations": "segkit.benchmark.annotations",
    "memory": "segkit.benchmark.memory",
}
CONFIG_FILE = "segkit://coco/torchvision_mask_rcnn_r50_fpn.yaml"


LARGEST_SIDE = 1 << 15
MOST = {
    "batch": 1 << 16,
    "objects": 1 << 20,
    "num_classes": 1 << 20,
    "annotations": 1 << 30,
    "slide": LARGEST_SIDE,
    "checked_images": 1 << 20,
    "runs": 1 << 20,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured and how; a part replaces None by its defaults.

    Attributes:
        config_file: of segkit's model.
        overrides: of the configuration, ``KEY=VALUE`` or pairs.
        device: ``auto``, or torch's name.
        precision: ``fp32``, ``bf16``, ``fp16``.
        batch: images in a step.
        objects: objects in each image.
        size: (height, width) of the images.
        object_sides: shortest and longest of the objects' longer sides, in pixels; None: relative to the image.
        num_classes: K; None: the number of the configuration's classes, else 80.
        annotations: number of annotations of the data set in the parts ``annotations``, ``data`` and ``memory``.
        slide: side of the large image of which the part ``data`` reads windows.
        checked_images: images that the part ``data`` checks with their pixels.
        runs: timed turns of each side, of which the median is reported.
        channels_last: also measure segkit without channels-last maps.
        compile: also measure segkit with backbone and neck compiled.
        fused: also measure segkit with torch's fused optimizer.
        count_syncs: count synchronisations of the host with the device (CUDA).
        memory: measure the peak memory, in a separate process for each side.
    """

    config_file: str = CONFIG_FILE
    overrides: Sequence[str] = ()
    device: str = "auto"
    precision: str = "fp32"
    batch: int | None = None
    objects: int | None = None
    size: tuple[int, int] | None = None
    object_sides: tuple[int, int] | None = None
    num_classes: int | None = None
    annotations: int | None = None
    slide: int | None = None
    checked_images: int | None = None
    runs: int | None = None
    channels_last: bool = False
    compile: bool = False
    fused: bool = False
    count_syncs: bool = False
    memory: bool = True

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and value > most:
                raise SegkitError(f"--{name.replace('_', '-')} must be at most {most:,}, not {value:,}", value=value)
            if value is not None and value < 1:
                raise SegkitError(f"--{name.replace('_', '-')} must be at least 1, not {value}", value=value)
        check_size(self.size)

    def filled(self, **defaults: Any) -> Options:
        """The options with a part's defaults in place of None."""
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})


def check_size(size: Sequence[int] | None) -> None:
    """Raises a SegkitError if a size is too small for a pyramid down to stride 64."""
    if size is not None and min(size) < 64:
        raise SegkitError(f"--size must be at least 64 64, not {size[0]} {size[1]}", value=tuple(size))
    if size is not None and max(size) > LARGEST_SIDE:
        raise SegkitError(
            f"--size must be at most {LARGEST_SIDE} {LARGEST_SIDE}, not {size[0]} {size[1]}", value=tuple(size)
        )


def check_parts(names: Sequence[str]) -> None:
    """Raises a SegkitError for an unknown part."""
    for name in names:
        if name not in PARTS:
            raise SegkitError(f"there is no part '{name}'{did_you_mean(name, PARTS)}", value=name, choices=PARTS)
