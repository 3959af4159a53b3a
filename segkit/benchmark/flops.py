"""Counts multiply-adds and activations of each component of a detector.

A whole detector cannot be traced, since its number of boxes depends on the images. Its components can, for images of one
size and a fixed number of boxes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segkit.evaluation.evaluator import evaluation_mode
from segkit.modeling.interfaces import BoxHead, MaskHead

# Elementwise work and comparisons, also in place, which are not counted in FLOPs.
CHEAP = (
    *("add", "sub", "rsub", "mul", "div", "sqrt", "log2", "exp", "where", "le", "ge", "gt", "lt", "eq", "numel"),
    *("minimum", "maximum", "clamp", "floor", "unflatten", "repeat_interleave", "rand", "bernoulli", "dropout"),
    *("sigmoid", "relu", "silu", "gelu", "hardsigmoid", "hardswish"),
)


@dataclass(frozen=True)
class PartCost:
    """Cost of one pass through a component.

    Attributes:
        name: of the component in the model.
        work: its input.
        flops: multiply-adds (a fused one counts once) of convolutions, matrix products and normalisations.
        activations: number of output elements of convolutions and matrix products.
        uncounted: operations with some work that were not counted.
    """

    name: str
    work: str
    flops: int
    activations: int
    uncounted: Counter[str]


class _Named(nn.Module):
    """Wraps a component that takes maps in a module that takes tensors, for tracing."""

    def __init__(self, part: nn.Module, names: Sequence[str] | None, arguments: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.part = part
        self.names = names
        self.arguments = arguments

    def forward(self, *maps: Tensor) -> Any:
        given: Any = list(maps) if self.names is None else dict(zip(self.names, maps, strict=True))
        return self.part(given, *self.arguments)


def part_costs(model: Any, size: tuple[int, int], *, batch: int = 1) -> list[PartCost]:
    """The costs of predicting ``batch`` images, in the order in which the components run.

    Args:
        model: with ``backbone``, ``neck``, ``proposal_generator`` and ``roi_heads``, as ``GeneralizedRCNN`` has them;
            missing components are skipped. Each box head gets the largest possible number of proposals, each mask head
            the largest possible number of detections.
        size: (height, width) of the images.
    """
    images = [torch.zeros(model.pixel_mean.numel(), *size)] * batch
    costs: list[PartCost] = []
    with evaluation_mode(model), torch.no_grad():
        x = model.preprocess(images).tensor
        of = f"{batch} x {x.shape[2]} x {x.shape[3]}"
        costs.append(cost_of("backbone", of, model.backbone, (x,)))
        maps: Mapping[str, Tensor] = model.backbone(x)
        if getattr(model, "neck", None) is not None:
            costs.append(cost_of("neck", of, _Named(model.neck, list(maps)), tuple(maps.values())))
            maps = model.neck(maps)
        generator = model.proposal_generator
        if hasattr(generator, "head"):
            levels = [maps[level] for level in getattr(generator, "levels", maps)]
            head = _Named(generator.head, None)
            costs.append(cost_of("proposal_generator.head", of, head, tuple(levels)))
        heads = getattr(model, "roi_heads", None)
        if heads is None:
            return costs
        proposals = getattr(generator, "post_nms_top_k", (1000, 1000))[-1]
        for kind, count in ((BoxHead, proposals), (MaskHead, heads.detections_per_image)):
            for name, head in heads.named_modules():
                if isinstance(head, kind):
                    boxes = [spread_boxes(count, size).to(x.device)] * batch
                    labels = torch.zeros(
                        count * batch, dtype=torch.int64, device=x.device
                    )  # any class: one mask for each box
                    wrapped = _Named(head, list(maps), (boxes, labels) if kind is MaskHead else (boxes,))
                    costs.append(
                        cost_of(f"roi_heads.{name}", f"{batch} x {count:,} boxes", wrapped, tuple(maps.values()))
                    )
    return costs


def cost_of(name: str, work: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> PartCost:
    """Traces a module once and counts its operations."""
    with warnings.catch_warnings():  # importing fvcore scripts two losses, which newer torch warns about
        warnings.simplefilter("ignore", FutureWarning)
        from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
    flops, activations = FlopCountAnalysis(module, inputs), ActivationCountAnalysis(module, inputs)
    for analysis in (flops, activations):  # uncounted operations are one note, not a warning each
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    totals = int(flops.total()), int(activations.total())
    missed = Counter({op.removeprefix("aten::"): count for op, count in flops.unsupported_ops().items()})
    uncounted = Counter({op: count for op, count in missed.items() if op.removesuffix("_") not in CHEAP})
    return PartCost(name, work, *totals, uncounted)


def spread_boxes(count: int, size: tuple[int, int]) -> Tensor:
    """Boxes [count, 4] of 1/32 to 1/2 of the image's sides, so that every level has some."""
    generator = torch.Generator().manual_seed(0)
    sides = torch.tensor([size[1], size[0]]) * torch.exp2(-1 - 4 * torch.rand(count, 1, generator=generator))
    corners = torch.rand(count, 2, generator=generator) * (torch.tensor([size[1], size[0]]) - sides)
    return torch.cat([corners, corners + sides], dim=1)
