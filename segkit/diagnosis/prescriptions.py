"""Changes of a configuration, as ``KEY=VALUE``, that address errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.config.spec import to_plain
from segkit.diagnosis.settings import ModelSettings

ROUND = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)  # leading figures of round numbers
HIGHEST_NMS_THRESHOLD = 0.95
SCALED_KEYS = {
    "ResizeShortestEdge": ("sizes", "max_size"),
    "Resize": ("size",),
    "RandomScale": ("max_scale", "min_scale"),
    "RandomScaledCrop": ("max_scale", "min_scale"),
    "LargeScaleJitter": ("max_scale", "min_scale"),
}


def override(key: str, value: Any) -> str:
    """A change for the command line; JSON is YAML too."""
    return f"{key}={json.dumps(value)}"


def round_above(value: float) -> int:
    """The next round figure above a number from 10 on: 100, 150, 200, 250, 300, 400 ..."""
    power = 10 ** math.floor(math.log10(max(value, 10)))
    return int(next((r * power for r in ROUND if r * power > value), 10 * power))


def higher_detection_limit(settings: ModelSettings, densest: int) -> tuple[str, ...]:
    """A limit of detections above the number of objects of the densest image, and proposals."""
    if "detections_per_image" not in settings.keys:
        return ()
    limit = round_above(max(1.1 * densest, settings.detections_per_image or 0))
    changes = [override(settings.keys["detections_per_image"], limit)]
    if "post_nms_top_k" in settings.keys and (settings.post_nms_top_k or 0) < 2 * limit:
        for name in ("pre_nms_top_k", "post_nms_top_k"):
            if name in settings.keys and (getattr(settings, name) or 0) < 2 * limit:
                changes.append(_at_test(settings, settings.keys[name], 2 * limit))
    return tuple(changes)


def _at_test(settings: ModelSettings, key: str, value: int) -> str:
    """A limit of proposals at test; that of training stays."""
    present = value_at(settings, key)
    return override(key, [present[0], value] if isinstance(present, (list, tuple)) and len(present) == 2 else value)


def anchors_for(settings: ModelSettings, smallest: float, largest: float) -> tuple[str, ...]:
    """Anchor sizes from the side of small objects to that of large ones.

    Both are in pixels of the image that the model sees.
    """
    if settings.anchor_sizes is None:
        return ()
    old = [list(level) for level in settings.anchor_sizes]
    first = 2 ** math.floor(math.log2(max(smallest, 2.0)))
    first = float(1.5 * first if 1.5 * first <= smallest else first)
    if len(old) == 1:  # one list for all levels
        new = [[first]]
        while new[0][-1] * math.sqrt(2) < largest or len(new[0]) < len(old[0]):
            new[0].append(new[0][-1] * 2)
    else:
        step = max(2.0, (largest / math.sqrt(2) / first) ** (1 / (len(old) - 1))) if largest > first else 2.0
        new = [[_whole(first * step**i * size / level[0]) for size in level] for i, level in enumerate(old)]
    return (override(settings.keys["anchor_sizes"], [[_short(size) for size in level] for level in new]),)


def enlarged(settings: ModelSettings, factor: float) -> tuple[str, ...]:
    """Images enlarged by a factor, in training and at test."""
    if settings.config is None:
        return ()
    data, changes = settings.config.data, []
    for name, transforms in (("train_transforms", data.train_transforms), ("test_transforms", data.test_transforms)):
        specs = [to_plain(spec) for spec in transforms]
        scaled = [
            override(f"data.{name}.{i}.{key}", _times(spec[key], factor))
            for i, spec in enumerate(specs)
            for key in SCALED_KEYS.get(spec["name"], ())
            if spec.get(key) is not None
        ]
        if not scaled:
            resize = {"name": "RandomScale", "min_scale": factor, "max_scale": factor}
            scaled = [override(f"data.{name}", [*specs, resize])]
        changes += scaled
    return tuple(changes)


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, (list, tuple)):
        return [_times(one, factor) for one in value]
    return round(value * factor) if isinstance(value, int) else _short(round(value * factor, 3))


def higher_nms_threshold(settings: ModelSettings, overlap: float) -> tuple[str, ...]:
    """An NMS threshold above an IoU."""
    if settings.nms_threshold is None:
        return ()
    value = min(HIGHEST_NMS_THRESHOLD, math.floor(20 * max(overlap, settings.nms_threshold) + 1) / 20)
    return (override(settings.keys["nms_threshold"], round(value, 2)),)


def larger_tile_overlap(settings: ModelSettings, side: float) -> tuple[str, ...]:
    """Tiles that share as many pixels as objects are long, without slivers of objects."""
    if settings.tile_size is None or "tile_overlap" not in settings.keys:
        return ()
    key = settings.keys["tile_overlap"]
    shared = min(16 * math.ceil(side / 16), min(settings.tile_size) // 2)
    changes = [override(key, shared)] if shared > (settings.tile_overlap or 0) else []
    visible = key.removesuffix("overlap") + "min_visibility"
    if (value_at(settings, visible) or 0) < 0.5:
        changes.append(override(visible, 0.5))
    return tuple(changes)


def half_pixel_corrections(settings: ModelSettings, heads: Sequence[str]) -> tuple[str, ...]:
    """RoIAlign's half-pixel correction for the heads (key paths) that lack it."""
    return tuple(override(f"{head}.aligned", True) for head in heads if value_at(settings, f"{head}.aligned") is False)


def box_heads(settings: ModelSettings) -> list[str]:
    """Key paths of the box heads."""
    stages = value_at(settings, "model.roi_heads.box_heads")
    if isinstance(stages, (list, tuple)):
        return [f"model.roi_heads.box_heads.{i}" for i in range(len(stages))]
    return ["model.roi_heads.box_head"] if value_at(settings, "model.roi_heads.box_head") is not None else []


def larger_masks(settings: ModelSettings) -> tuple[str, ...]:
    """Masks of twice the resolution."""
    if settings.mask_resolution is None:
        return ()
    return (override(settings.keys["mask_resolution"], 2 * settings.mask_resolution),)


def overlap_loss(settings: ModelSettings) -> tuple[str, ...]:
    """The loss of boxes that is their overlap (GIoU), for box heads that have another one."""
    return tuple(
        override(f"{head}.box_loss", "giou")
        for head in box_heads(settings)
        if value_at(settings, f"{head}.box_loss") == "smooth_l1"
    )


def repeated_rare_classes(settings: ModelSettings) -> tuple[str, ...]:
    """The sampler that repeats images with rare classes."""
    if settings.config is None or settings.balanced:
        return ()
    return (override("data.sampler", {"name": "RepeatFactorSampler", "threshold": 0.5}),)


def swapped_class_names(settings: ModelSettings, first: str, second: str) -> tuple[str, ...]:
    """The class names with two of them exchanged."""
    names = list(settings.config.data.classes or ()) if settings.config is not None else []
    if first not in names or second not in names:
        return ()
    exchanged = {first: second, second: first}
    return (override("data.classes", [exchanged.get(name, name) for name in names]),)


def separate_components(settings: ModelSettings) -> tuple[str, ...]:
    """Each connected region of a mask as an object, where the format can read masks so."""
    if settings.config is None:
        return ()
    changes = []
    for name in ("train", "val"):
        spec = value_at(settings, f"data.{name}")
        if isinstance(spec, Mapping) and spec.get("components") is False:
            changes.append(override(f"data.{name}.components", True))
    return tuple(changes)


def value_at(settings: ModelSettings, key: str) -> Any:
    """The configuration's value at a key path; None without one."""
    tree: Any = settings.config.to_dict() if settings.config is not None else None
    for part in key.split("."):
        if isinstance(tree, (list, tuple)) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        else:
            return None
    return tree


def _whole(size: float) -> float:
    """The size in whole pixels, small ones in quarters."""
    return float(round(size)) if size >= 8 else round(4 * size) / 4


def _short(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
