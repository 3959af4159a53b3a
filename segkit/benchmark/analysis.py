"""Analyses a configuration's model: parameters, FLOPs, time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from segkit.benchmark.flops import PartCost, part_costs
from segkit.benchmark.measure import WARM_UP, PeakMemory, load_kernels, median, seconds_of
from segkit.benchmark.models import build_random
from segkit.benchmark.options import Options
from segkit.benchmark.report import machine, shown
from segkit.benchmark.scene import make_batch
from segkit.config.loader import load_config
from segkit.config.schema import Config
from segkit.engine.amp import autocast
from segkit.engine.datasets import checkpoint_labels
from segkit.engine.parameters import count_parameters, parameter_table
from segkit.evaluation.evaluator import evaluation_mode
from segkit.modeling.backbones.base import Backbone
from segkit.modeling.weights.loading import load_checkpoint
from segkit.modeling.weights.reading import checkpoint_content
from segkit.registry import OPTIMIZER_REGISTRY
from segkit.utils.seeding import evaluation_generator


@dataclass(frozen=True)
class Cost:
    """Time and memory of one kind of step.

    Attributes:
        work: what the step does.
        seconds: median of several runs.
        peak_bytes: see :class:`segkit.benchmark.measure.PeakMemory`.
    """

    work: str
    seconds: float
    peak_bytes: float


@dataclass
class Analysis:
    """The result of an analysis, as text or as plain values."""

    model: nn.Module
    about: dict[str, Any]
    parts: list[PartCost]
    features: list[tuple[str, str, int, int]]  # component, name, stride, channels
    stages: list[tuple[str, int, int]]  # name, parameters, trainable parameters
    costs: list[Cost]

    def text(self) -> str:
        sections = [
            f"{self.about['config']}: {self.about['model']}, {self.about['classes']} classes\n{self.about['machine']}",
            parameter_table(self.model),
            self._flops_table(),
            tabulate(self.features, headers=["feature of", "name", "stride", "channels"]),
        ]
        if self.stages:
            rows = [(name, f"{total:,}", trainable_text(total, trainable)) for name, total, trainable in self.stages]
            sections.append(
                tabulate(rows, headers=["stage", "parameters", "trains"], colalign=("left", "right", "left"))
            )
        rows = [(cost.work, f"{shown(cost.seconds)} s", f"{cost.peak_bytes / 2**20:,.0f} MiB") for cost in self.costs]
        align = ("left", "right", "right")
        sections.append(tabulate(rows, headers=["step", "median time", "peak memory"], colalign=align))
        return "\n\n".join([*sections, *self.about["notes"]])

    def _flops_table(self) -> str:
        rows = [(p.name, p.work, f"{p.flops / 1e9:.3f}", f"{p.activations / 1e6:.3f}") for p in self.parts]
        total = (sum(p.flops for p in self.parts) / 1e9, sum(p.activations for p in self.parts) / 1e6)
        rows.append(("total", "", f"{total[0]:.3f}", f"{total[1]:.3f}"))
        headers = ["part", "on", "GFLOPs", "activations, millions"]
        return tabulate(rows, headers=headers, colalign=("left", "left", "right", "right"), disable_numparse=True)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values under stable names, in bytes and seconds."""
        total, trainable = count_parameters(self.model)
        children = {name: count_parameters(part) for name, part in self.model.named_children()}
        return {
            **self.about,
            "parameters": {
                "total": total,
                "trainable": trainable,
                "parts": {name: {"total": t, "trainable": some} for name, (t, some) in children.items()},
            },
            "flops": {
                "total": sum(p.flops for p in self.parts),
                "activations": sum(p.activations for p in self.parts),
                "parts": {p.name: {"on": p.work, "flops": p.flops, "activations": p.activations} for p in self.parts},
            },
            "features": [
                {"of": of, "name": name, "stride": stride, "channels": channels}
                for of, name, stride, channels in self.features
            ],
            "stages": [{"name": n, "parameters": t, "trainable": some} for n, t, some in self.stages],
            "steps": [{"work": c.work, "seconds": c.seconds, "peak_bytes": c.peak_bytes} for c in self.costs],
        }


def analyze(options: Options, *, weights: str | None, device: torch.device) -> Analysis:
    """Builds the model of a configuration, counts its parameters and FLOPs, and times it.

    Args:
        options: the configuration, sizes and device, all filled in.
        weights: a checkpoint; None: random weights, with another number of detections.
        device: of the model.
    """
    cfg = load_config(options.config_file, options.overrides)
    assert options.batch and options.objects and options.size and options.runs
    batch, size, precision, runs = options.batch, options.size, options.precision, options.runs
    load_kernels(device)
    memory = PeakMemory(device)
    content = {} if weights is None else checkpoint_content(weights)
    model = build_random(cfg, options.num_classes, checkpoint_labels(content)[0])
    if weights is not None:
        load_checkpoint(model, weights, content=content)
    del content  # else the peak memory would include the file
    model.to(device)
    data = make_batch(batch, options.objects, size, model.num_classes, channels=model.pixel_mean.numel())
    costs = [measure_inference(model, data, memory, runs, precision)]
    costs += measure_training(cfg, model, data, memory, runs, precision)
    parts = part_costs(model, size, batch=batch)
    notes = [
        "FLOPs: multiply-adds of convolutions, matrix products and normalisations, at prediction, with the largest "
        "possible number of boxes; activations: outputs of convolutions and matrix products.",
        *uncounted_note(parts),
        "Peak memory: "
        + ("torch's on the GPU." if device.type == "cuda" else "this process's beyond what it had before the model."),
    ]
    about = {
        "config": options.config_file,
        "model": type(model).__name__,
        "classes": model.num_classes,
        "weights": weights,
        "batch": batch,
        "size": list(size),
        "precision": precision,
        "machine": machine(device),
        "notes": notes,
    }
    return Analysis(model, about, parts, published_features(model), backbone_stages(model), costs)


def measure_inference(model: Any, data: Any, memory: PeakMemory, runs: int, precision: str) -> Cost:
    """A prediction step: images to detections, without pasting masks."""
    found: list[int] = []

    def step() -> None:
        with torch.inference_mode(), autocast(precision, memory.device):
            detections = model.predict(data.images)
        found.append(sum(len(d) for d in detections))

    with evaluation_mode(model):
        seconds, peak = measured(step, memory, runs)
    return Cost(f"inference, {found[-1]} detections", seconds, peak)


def measure_training(cfg: Config, model: Any, data: Any, memory: PeakMemory, runs: int, precision: str) -> list[Cost]:
    """A training step at learning rate 0; none if no parameter trains."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return []
    optimizer = OPTIMIZER_REGISTRY.build(cfg.solver.optimizer, path="solver.optimizer", model=model, params=parameters)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # so that each run does the same work

    scaler = torch.amp.GradScaler(memory.device.type, enabled=precision == "fp16")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        batch = data.to(memory.device, non_blocking=True)
        with autocast(precision, memory.device):
            losses = model.losses(batch.images, batch.targets, evaluation_generator(memory.device))
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()

    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        seconds, peak = measured(step, memory, runs)
    finally:
        optimizer.zero_grad(set_to_none=True)
        for module, training in modes:
            module.training = training
    objects = sum(len(targets) for targets in data.targets)
    return [Cost(f"training, {objects} objects", seconds, peak)]


def measured(step: Callable[[], None], memory: PeakMemory, runs: int) -> tuple[float, float]:
    """Median seconds and peak bytes of several runs after a warm-up."""
    memory.reset()
    for _ in range(WARM_UP.get(memory.device.type, 1)):
        step()
    seconds = [seconds_of(step, memory.device) for _ in range(runs)]
    return median(seconds), memory.read()


def published_features(model: Any) -> list[tuple[str, str, int, int]]:
    """Component, name, stride and channels of each map that backbone and neck publish."""
    return [
        (of, name, spec.stride, spec.channels)
        for of in ("backbone", "neck")
        for name, spec in getattr(getattr(model, of, None), "out_features", {}).items()
    ]


def backbone_stages(model: Any) -> list[tuple[str, int, int]]:
    """Name, parameters and trainable parameters of each of a backbone's declared stages."""
    # `stages` of a backbone of another class may be anything, for example a ModuleDict.
    stages: Sequence[nn.Module] = model.backbone.stages if isinstance(model.backbone, Backbone) else ()
    names = ["stem", *(f"stage{i}" for i in range(1, len(stages)))]
    return [(name, *count_parameters(stage)) for name, stage in zip(names, stages, strict=False)]


def trainable_text(total: int, trainable: int) -> str:
    """ "yes", "no", or the share of trainable parameters."""
    if not total:
        return "has nothing to train"
    if trainable in (0, total):
        return "yes" if trainable else "no"
    return f"{trainable / total:.0%} of them"


def uncounted_note(parts: Sequence[PartCost]) -> list[str]:
    """A note on the operations that were not counted, if there are any."""
    missed: Counter[str] = sum((part.uncounted for part in parts), Counter())
    if not missed:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in missed.most_common())
    return [f"Not counted: elementwise work, {listed}; anchors, NMS and pasting of masks."]
