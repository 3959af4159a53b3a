"""Weights of another framework under the names used here, with what their tensors do not show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from segkit.modeling.weights.pixels import PixelFormat


@dataclass(frozen=True)
class Arithmetic:
    """How a framework computes where the same weights could be used otherwise: what no change of weights makes up for.

    Attributes:
        framework: whose it is, for messages.
        aligned: RoIAlign's half-pixel correction.
        sampling_ratio: RoIAlign's; 0 is adaptive.
        rounded: anchors rounded to whole pixels.
        whole_strides: anchors step by image side // map side.
        sizes_first: among the anchors of a pixel, all shapes of a size come before the next size.
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
    """Named tensors, and how they are to be used.

    Attributes:
        kind: who wrote them: ``segkit``, ``torchvision``, ``Detectron2``, or ``backbone`` where no head is among them.
        state: the tensors by our names; what has no counterpart here keeps its own.
        classes: names of the classes, where known.
        changed: for tensors whose values are not the file's, what was done to them.
        arithmetic: the detector's, where the weights are a whole one's.
        config: the configuration that has that arithmetic.
        pixels: what the stem expects; None: unknown, so taken as it is.
        stride_in_1x1: where bottlenecks have their stride; None: unknown.
        folded_norms: the backbone's batch norms are factors without statistics.
        anchors: [A, 4] base anchors a level, where the file tells.
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
    """``name`` by the first of (pattern, replacement) that matches all of it; as it is where none does."""
    for pattern, replacement in patterns:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def nest_convolutions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where a norm follows a convolution of the neck or the mask head, the two are a sequence here: name the first so."""
    nested = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"(.+\.(?:lateral_convs|output_convs|convs)\.\d+)\.(weight|bias)", name)
        if match and f"{match[1]}.1.weight" in state:
            name = f"{match[1]}.0.{match[2]}"
        nested[name] = tensor
    return nested
