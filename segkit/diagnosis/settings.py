"""The settings of a model that decide which objects it can find, read from its configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from segkit.config.schema import Config, SplitConfig
from segkit.config.spec import to_plain

# Where each setting is in the shipped models, the first that exists counts.
PATHS: Mapping[str, Sequence[str]] = {
    "anchor_sizes": ("model.proposal_generator.anchor_generator.sizes",),
    "pre_nms_top_k": ("model.proposal_generator.pre_nms_top_k",),
    "post_nms_top_k": ("model.proposal_generator.post_nms_top_k",),
    "detections_per_image": ("model.roi_heads.detections_per_image", "model.detections_per_image"),
    "model_score_threshold": ("model.roi_heads.score_threshold", "model.score_threshold"),
    "nms_threshold": ("model.roi_heads.nms_threshold", "model.nms_threshold", "model.proposal_generator.nms_threshold"),
    "mask_resolution": ("model.roi_heads.mask_head.resolution",),
    "predict_score_threshold": ("predict.score_threshold",),
}


@dataclass(frozen=True)
class ModelSettings:
    """Settings that errors are compared with; what is unknown is None.

    Attributes:
        anchor_sizes: sides of the square anchors of each level, in pixels of the image that the model sees.
        pre_nms_top_k: proposals of a level before NMS, at test.
        post_nms_top_k: proposals of an image after NMS, at test.
        detections_per_image: most detections of an image.
        model_score_threshold: detections of lower scores are not in the results.
        nms_threshold: of two detections of a class whose boxes have a larger IoU, the one with the lower score is removed.
        mask_resolution: side of the map that the mask head pools; masks have twice that side.
        predict_score_threshold: lowest score of a detection that is drawn or submitted; None also for ``best``.
        tile_size: (height, width) of the tiles, if the validation data are tiles.
        tile_overlap: pixels that neighbouring tiles share at least.
        test_resizes: the transforms of test images that change their size, in order.
        balanced: whether images with rare classes are repeated in training.
        keys: key path of each setting that is known.
        config: the configuration itself.
    """

    anchor_sizes: tuple[tuple[float, ...], ...] | None = None
    pre_nms_top_k: int | None = None
    post_nms_top_k: int | None = None
    detections_per_image: int | None = None
    model_score_threshold: float | None = None
    nms_threshold: float | None = None
    mask_resolution: int | None = None
    predict_score_threshold: float | None = None
    tile_size: tuple[int, int] | None = None
    tile_overlap: int | None = None
    test_resizes: tuple[Mapping[str, Any], ...] = ()
    balanced: bool | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    config: Config | None = field(default=None, repr=False)

    @classmethod
    def from_config(cls, cfg: Config | None) -> ModelSettings:
        """Returns what a configuration says; for None, as for results of other tools, nothing is known.

        A component of the user's own may lack any setting, or have one of the name with values of another kind: these are
        unknown.
        """
        if cfg is None:
            return cls()
        tree = cfg.to_dict()
        values: dict[str, Any] = {}
        keys: dict[str, str] = {}
        for name, paths in PATHS.items():
            for path in paths:
                value = _KINDS[name](_at(tree, path))
                if value is not None:
                    values[name], keys[name] = value, path
                    break
        tile_key, tiles = _tiles(cfg)
        if tiles is not None:
            keys["tile_overlap"] = f"{tile_key}.overlap"
            values["tile_size"] = _pair(tiles.get("size"))
            values["tile_overlap"] = _whole(tiles.get("overlap"))
        resizes = tuple(one for one in map(to_plain, cfg.data.test_transforms) if one["name"] in _SCALES)
        balanced = cfg.data.sampler["name"] == "RepeatFactorSampler"
        return cls(**values, test_resizes=resizes, balanced=balanced, keys=keys, config=cfg)

    @property
    def smallest_anchor(self) -> float | None:
        """Side of the smallest anchor, in pixels of the image that the model sees."""
        return min(map(min, self.anchor_sizes)) if self.anchor_sizes else None

    @property
    def largest_anchor(self) -> float | None:
        """Side of the largest anchor, in pixels of the image that the model sees."""
        return max(map(max, self.anchor_sizes)) if self.anchor_sizes else None

    def scale(self, size: tuple[int, int]) -> float:
        """Returns by how much the test transforms enlarge an image of (height, width), as far as they are known.

        It is the root of the factor by which the area grows; a random scale counts with its geometric mean.
        """
        height, width = float(size[0]), float(size[1])
        for resize in self.test_resizes:
            height, width = _SCALES[resize["name"]](resize, height, width)
        return math.sqrt(height * width / (size[0] * size[1])) if size[0] and size[1] else 1.0


def _shortest_edge(spec: Mapping[str, Any], height: float, width: float) -> tuple[float, float]:
    sizes = spec["sizes"]
    factor = sorted(sizes)[len(sizes) // 2] / min(height, width)
    if spec.get("max_size") is not None:
        factor = min(factor, spec["max_size"] / max(height, width))
    return height * factor, width * factor


def _fixed(spec: Mapping[str, Any], height: float, width: float) -> tuple[float, float]:
    size = _pair(spec["size"])
    return (height, width) if size is None else (float(size[0]), float(size[1]))


def _factor(spec: Mapping[str, Any], height: float, width: float) -> tuple[float, float]:
    factor = math.sqrt(spec.get("min_scale", 1.0) * spec.get("max_scale", 1.0))
    return height * factor, width * factor


_SCALES = {
    "ResizeShortestEdge": _shortest_edge,
    "Resize": _fixed,
    "RandomScale": _factor,
    "RandomScaledCrop": _factor,
}


def _tiles(cfg: Config) -> tuple[str, Mapping[str, Any] | None]:
    """Key path and spec of the validation data, if they are tiles."""
    val, key = cfg.data.val, "data.val"
    if isinstance(val, SplitConfig):
        val, key = cfg.data.train, "data.train"
    return key, to_plain(val) if val is not None and val.get("format") == "tiles" else None


def _at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return tree


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _pair(value: Any) -> tuple[int, int] | None:
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        return None
    return sides[0], sides[1]


def _test_limit(value: Any) -> int | None:
    """The second of a limit's values in training and at test."""
    return _whole(value[-1]) if isinstance(value, (list, tuple)) and value else _whole(value)


def _sizes(value: Any) -> tuple[tuple[float, ...], ...] | None:
    if not isinstance(value, (list, tuple)) or not value:
        return None
    levels = [level if isinstance(level, (list, tuple)) else None for level in value]
    if any(not level or any(_number(size) is None or size <= 0 for size in level) for level in levels):
        return None
    return tuple(tuple(float(size) for size in level) for level in levels if level)


_KINDS = {
    "anchor_sizes": _sizes,
    "pre_nms_top_k": _test_limit,
    "post_nms_top_k": _test_limit,
    "detections_per_image": _whole,
    "model_score_threshold": _number,
    "nms_threshold": _number,
    "mask_resolution": _whole,
    "predict_score_threshold": _number,
}
