"""Weights of another framework by segkit's names, with the settings that they need."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from segkit.modeling.weights.pixels import PixelFormat


@dataclass(frozen=True)
class Arithmetic:
    """Settings of a framework that its weights need and no conversion can replace.

    Attributes:
        framework: its name, for messages.
        aligned: RoIAlign's half-pixel correction.
        sampling_ratio: of RoIAlign; 0 is adaptive.
        rounded: whether anchors are rounded to whole pixels.
        whole_strides: whether anchors are image side // map side apart.
        sizes_first: whether all aspect ratios of a size come before the next size, among the anchors of a pixel.
        smooth_l1_beta: of the box losses.
    """

    framework: str
    aligned: bool
    sampling_ratio: int
    rounded: bool
    whole_strides: bool
    sizes_first: bool
    smooth_l1_beta: float


@dataclass
class Converted:
    """Named tensors and the settings they need.

    Attributes:
        kind: origin: ``segkit``, ``torchvision``, ``Detectron2``, or ``backbone`` if there are no heads.
        state: the tensors by segkit's names; those without a counterpart keep their own.
        classes: names of the classes, if known.
        changed: by name of each tensor with other values than in the file, a description of the change.
        arithmetic: settings of the detector; None: the weights are a backbone's or segkit's.
        config: path of a configuration with these settings.
        pixels: format that the stem expects; None: unknown, so that it is not converted.
        stride_in_1x1: whether bottlenecks have their stride in the first 1x1 convolution; None: unknown.
        folded_norms: whether the backbone's batch norms are affine factors without statistics.
        anchors: base anchors [A, 4] of each level, if the file contains them.
    """

    kind: str
    state: dict[str, Tensor]
    classes: list[str] | None = None
    changed: dict[str, str] = field(default_factory=dict)
    arithmetic: Arithmetic | None = None
    config: str | None = None
    pixels: PixelFormat | None = None
    stride_in_1x1: bool | None = None
    folded_norms: bool = False
    anchors: list[Tensor] | None = None

    @property
    def backbone_only(self) -> bool:
        """Whether these are the weights of a backbone, not of a detector."""
        return all(name.startswith("backbone.") for name in self.state)


def rename(name: str, patterns: Sequence[tuple[str, str]]) -> str:
    """Renames ``name`` by the first (pattern, replacement) that matches it as a whole."""
    for pattern, replacement in patterns:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def nest_convolutions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames convolutions that a norm follows: segkit has the two in a Sequential."""
    nested = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"(.+\.(?:lateral_convs|output_convs|convs)\.\d+)\.(weight|bias)", name)
        if match and f"{match[1]}.1.weight" in state:
            name = f"{match[1]}.0.{match[2]}"
        nested[name] = tensor
    return nested
