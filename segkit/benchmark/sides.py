"""Sides of a comparison (segkit, torchvision, ...) that do the same work, and their timing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from segkit.benchmark.measure import alternate, median
from segkit.benchmark.report import Report, Row

SHORTEST_TURN = 0.5  # seconds


@dataclass
class Side:
    """One side of a comparison.

    Attributes:
        name: ``segkit``, one of its variants, or ``torchvision``.
        step: does the whole work once and returns its result (of models: figures by name that describe the work).
        boxes: the modules that pool boxes for the box and the mask head; their boxes are counted.
    """

    name: str
    step: Callable[[], Any]
    boxes: dict[str, nn.Module] = field(default_factory=dict)

    def counted(self) -> tuple[Mapping[str, Any], dict[str, int]]:
        """Runs one step; returns its result with the number of boxes of each head."""
        counts = dict.fromkeys(self.boxes, 0)

        def counter(name: str) -> Callable[..., None]:
            def count(module: nn.Module, args: tuple[Any, ...]) -> None:
                counts[name] += sum(len(boxes) for boxes in args[1])

            return count

        handles = [module.register_forward_pre_hook(counter(name)) for name, module in self.boxes.items()]
        try:
            return self.step(), counts
        finally:
            for handle in handles:
                handle.remove()


def measure_work(
    report: Report, work: str, sides: Mapping[str, Side], *, runs: int, device: torch.device, images: int = 1
) -> dict[str, Any]:
    """Times sides in turns; adds a row of medians and all single times to the report.

    Args:
        report: a row, the single times under ``seconds``, and notes on sides that ran out of memory are added.
        work: what the sides do.
        sides: by name.
        runs: turns of each side.
        device: synchronised after each step.
        images: in a step; the row has the time for one image, the single times are for a step.
    Returns:
        the result of each side's first step.
    """
    made: dict[str, Any] = {}

    def remembered(name: str) -> Callable[[], object]:
        return lambda: made.setdefault(name, sides[name].step())

    times, failed = alternate({name: remembered(name) for name in sides}, runs, device, SHORTEST_TURN)
    report.rows.append(Row(work, "s", {name: median(seconds) / images for name, seconds in times.items()}, "peer/own"))
    report.details.setdefault("seconds", {})[work] = times
    report.notes += [f"{name}: out of memory at: {work}" for name in failed]
    return made


def installed(peers: Mapping[str, str], report: Report) -> list[str]:
    """The installed ones of several peers (name: module); notes in the report name the others."""
    there = [name for name, module in peers.items() if importlib.util.find_spec(module) is not None]
    report.notes += [f"{name} is not measured: it is not installed" for name in peers if name not in there]
    return there
