"""Feature maps' channels and strides, and checks of what backbones and necks return."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from segkit.utils.errors import SegkitError


@dataclass(frozen=True)
class FeatureSpec:
    """Shape of one feature map that a backbone or neck publishes.

    Attributes:
        channels: number of channels.
        stride: input pixels per feature pixel, the same in both directions.
    """

    channels: int
    stride: int

    def __post_init__(self) -> None:
        for attribute in ("channels", "stride"):  # also take NumPy's integers and whole floats
            value: Any = getattr(self, attribute)
            if isinstance(value, numbers.Real) and not isinstance(value, (bool, int)) and float(value).is_integer():
                object.__setattr__(self, attribute, round(float(value)))


EXPECTED = "expected a dictionary such as {'stage1': FeatureSpec(channels=32, stride=4)}"


def check_out_features(module: Any) -> None:
    """Raises a SegkitError unless ``module.out_features`` has channels and stride of each map."""
    check_features(module.out_features, f"{type(module).__name__}.out_features")


def check_features(found: Any, where: str) -> None:
    """Raises a SegkitError unless ``found`` has the channels and stride of each map.

    Any object with positive integers ``channels`` and ``stride`` is accepted, such as Detectron2's ShapeSpec.

    Args:
        found: specs by the maps' names.
        where: what ``found`` is called in the message.
    """
    if not isinstance(found, Mapping):
        raise SegkitError(f"{where} is a {type(found).__name__}; {EXPECTED}", key="out_features", value=found)
    if not found:
        raise SegkitError(f"{where} is empty; {EXPECTED}", key="out_features", value=found)
    for name, spec in found.items():
        if not isinstance(name, str):
            raise SegkitError(
                f"{where} has the key {name!r}; keys are the maps' names, such as 'stage1'", key="out_features"
            )
        for attribute in ("channels", "stride"):
            value = getattr(spec, attribute, None)
            if type(value) is not int or value < 1:
                given = f"{spec!r}" if value is None else f"{attribute}={value!r}"
                raise SegkitError(
                    f"{where}['{name}'] is given as {given}; expected FeatureSpec(channels=..., stride=...) with integers "
                    "from 1 on (from segkit.modeling.layers.feature_spec import FeatureSpec)",
                    key="out_features",
                    value=value,
                )


def check_maps(module: nn.Module, maps: Any, size: tuple[int, int]) -> None:
    """Raises a SegkitError unless the maps have the shapes in ``module.out_features``.

    Args:
        module: a backbone or neck.
        maps: the return value of its ``forward``: [B, channels, about H / stride, about W / stride] by name.
        size: (H, W) of the images.
    """
    published: Mapping[str, FeatureSpec] = getattr(module, "out_features", {})
    title = type(module).__name__
    if not isinstance(maps, Mapping):
        raise SegkitError(
            f"{title}.forward returns a {type(maps).__name__}; expected a dictionary of the maps {list(published)}"
        )
    for name, spec in published.items():
        if name not in maps:
            raise SegkitError(f"{title}.forward returns the maps {list(maps)}; out_features also names '{name}'")
        found = maps[name]
        if not isinstance(found, Tensor) or found.dim() != 4:
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise SegkitError(f"{title}.forward returns {shape} as '{name}'; expected a tensor [B, C, H, W]")
        if found.shape[1] != spec.channels:
            raise SegkitError(
                f"{title}: the map '{name}' has {found.shape[1]} channels, and out_features says channels={spec.channels}"
            )
        for side, image_side in zip(found.shape[-2:], size, strict=True):
            # Rounding up or down changes a side by less than a pixel; convolutions without padding lose a few more.
            expected = image_side / spec.stride
            if abs(side - expected) >= 1 + 0.1 * expected:
                raise SegkitError(
                    f"{title}: the map '{name}' of an image of {size[0]} x {size[1]} pixels is {found.shape[2]} x "
                    f"{found.shape[3]}, a stride of about {image_side / max(1, side):.3g}; out_features says "
                    f"stride={spec.stride}"
                )
