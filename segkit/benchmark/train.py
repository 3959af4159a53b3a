"""Part ``train``: a whole training step, segkit against torchvision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.benchmark.comparison import box_modules, build_side, compare
from segkit.benchmark.models import chosen_device
from segkit.benchmark.options import Options
from segkit.benchmark.peers import LOSSES
from segkit.benchmark.report import OWN, PEER, Report
from segkit.benchmark.scene import jittered, make_batch
from segkit.benchmark.sides import Side
from segkit.engine.amp import autocast
from segkit.structures.sample import Batch

DEFAULTS: dict[str, Any] = {"batch": 2, "objects": 40, "size": (512, 512), "runs": 5}
# At learning rate 0 the optimizer does all its work and the weights stay, so that every run does the same.
LEARNING_RATE = 0.0
NOTES = [
    "a step: the batch from the host's memory to the device, forward, backward, SGD with momentum (learning rate 0)",
    "weights are random; good proposals (the objects' boxes, each side moved by up to 8 %) are put beside those of the "
    "region proposal network, so that each image has its full share of positive boxes",
]
PEER_NOTES = [
    "the weights are the same on both sides, the arithmetic is each side's own: losses differ by that, by the mask "
    "targets, and by the random numbers of sampling",
    "masks as each library has them: segkit InstanceMasks, torchvision uint8 [N, H, W]",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    situation = (
        f"{options.config_file}, {options.batch} x {options.size[0]} x {options.size[1]}, "  # type: ignore[index]
        f"{options.objects} objects an image, {options.precision}"
    )
    report = compare("train", options, make_side, situation=situation, optimizer=True)
    totals = next((row.values for row in report.rows if row.work == "loss, total"), {})
    report.notes += NOTES + (PEER_NOTES if PEER in totals else [])
    if PEER in totals and abs(totals[OWN] - totals[PEER]) > 0.2 * abs(totals[PEER]):
        report.notes.append("the losses differ by more than a fifth: the sides may not do the same work")
    return report


def make_side(options: Options, name: str, folder: Path) -> Side:
    """One side with its model, inputs and optimizer."""
    device = chosen_device(options)
    model = build_side(options, name, folder).train()
    assert options.batch and options.objects and options.size
    classes = model_classes(model, name)
    batch = make_batch(options.batch, options.objects, options.size, classes, sides=options.object_sides)
    samples = (
        model.roi_heads.batch_size_per_image if name != PEER else model.roi_heads.fg_bg_sampler.batch_size_per_image
    )
    extra = [jittered(targets.boxes, samples // 2).to(device) for targets in batch.targets]
    if device.type == "cuda":
        batch = batch.pin_memory()
    add_proposals(model, extra, is_peer=name == PEER)
    forward = peer_forward(model, batch, device) if name == PEER else own_forward(model, batch, device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = True if name.endswith("fused") else None
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4, fused=fused)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")

    def step() -> dict[str, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        with autocast(options.precision, device):
            losses = forward()
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()
        return {"loss, total": total.detach()} | {f"loss, {name}": loss.detach() for name, loss in losses.items()}

    return Side(name, step, box_modules(model, name))


def model_classes(model: Any, name: str) -> int:
    """K, the number of classes without the background."""
    return model.roi_heads.box_predictor.cls_score.out_features - 1 if name == PEER else model.num_classes


def own_forward(model: Any, batch: Batch, device: torch.device) -> Callable[[], dict[str, Tensor]]:
    """A training step as segkit's trainer runs it."""

    def forward() -> dict[str, Tensor]:
        there = batch.to(device, non_blocking=device.type == "cuda")
        return model.losses(there.images, there.targets, torch.Generator(device).manual_seed(0))

    return forward


def peer_forward(model: nn.Module, batch: Batch, device: torch.device) -> Callable[[], dict[str, Tensor]]:
    """A training step as in torchvision's reference scripts: float images, dense masks."""
    images = [image.float() / 255 for image in batch.images]
    targets = [
        {"boxes": t.boxes, "labels": t.labels + 1, "masks": t.masks.to_dense().to(torch.uint8)}  # type: ignore[union-attr]
        for t in batch.targets
    ]
    if device.type == "cuda":
        images = [image.pin_memory() for image in images]
        targets = [{key: value.pin_memory() for key, value in t.items()} for t in targets]

    def forward() -> dict[str, Tensor]:
        torch.manual_seed(0)
        moved = [image.to(device, non_blocking=True) for image in images]
        their_targets = [{key: value.to(device, non_blocking=True) for key, value in t.items()} for t in targets]
        losses = model(moved, their_targets)
        return {ours: losses[theirs] for ours, theirs in LOSSES.items() if theirs in losses}

    return forward


def add_proposals(model: Any, extra: list[Tensor], *, is_peer: bool) -> None:
    """Adds boxes [M, 4] to each image's proposals; the RPN does all its work."""

    def joined(proposals: list[Tensor]) -> list[Tensor]:
        return [torch.cat([own, more.to(own.dtype)]) for own, more in zip(proposals, extra, strict=True)]

    if is_peer:
        model.rpn.register_forward_hook(lambda module, args, output: (joined(output[0]), output[1]))
        return
    generator = model.proposal_generator
    proposals = generator.proposals
    generator.proposals = lambda *args, **kwargs: joined(proposals(*args, **kwargs))
