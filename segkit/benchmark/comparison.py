"""Compares segkit's and torchvision's model with the same weights on the same device."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.benchmark.measure import alternate, free, median
from segkit.benchmark.models import build_random, chosen_device
from segkit.benchmark.options import Options
from segkit.benchmark.peak_memory import memory_note, peak_memory
from segkit.benchmark.peers import NoPeer, make_peer, state_to_load
from segkit.benchmark.report import OWN, PEER, Report, Row, machine
from segkit.benchmark.sides import Side
from segkit.benchmark.syncs import count_syncs
from segkit.config.loader import load_config
from segkit.modeling.weights.loading import load_checkpoint
from segkit.utils.errors import SegkitError
from segkit.utils.logging import logging_from

PEER_FILE = "peer.pth"
OWN_FILE = "own.pth"


def variants(options: Options, *, optimizer: bool) -> list[str]:
    """The variants of segkit's model that ``options`` select."""
    selected = {
        "channels-first": options.channels_last,
        "compiled": options.compile,
        "fused": options.fused and optimizer,
    }
    return [f"{OWN} {name}" for name, is_selected in selected.items() if is_selected]


# Adapts random weights to the options. Arguments: the model, whether it is torchvision's, the options.
Shape = Callable[[Any, bool, Options], None]


def write_weights(options: Options, folder: Path, shape: Shape | None) -> tuple[list[str], list[str]]:
    """Writes random weights for both models to ``folder``, the same if there is a peer.

    Returns:
        the names of the sides (segkit's and torchvision) and notes on them.
    """
    cfg = load_config(options.config_file, options.overrides)
    torch.manual_seed(0)
    model = build_random(cfg, options.num_classes)
    try:
        assert options.size is not None
        peer = make_peer(model, cfg.model, options.size)
    except NoPeer as error:
        if shape is not None:
            shape(model, False, options)
        torch.save({"model": model.state_dict()}, folder / OWN_FILE)
        return [OWN], [f"torchvision is not measured, since it has no equivalent of this configuration: {error}"]
    bound_activations(peer)
    if shape is not None:
        shape(peer, True, options)
    torch.save(peer.state_dict(), folder / PEER_FILE)
    torch.save(state_to_load(peer), folder / OWN_FILE)
    with logging_from(logging.ERROR, "segkit.modeling.weights"):  # the notes say what its warning would say
        report = load_checkpoint(model, str(folder / OWN_FILE), on_mismatch="reinitialize")
    torch.save({"model": model.state_dict()}, folder / OWN_FILE)
    alone = report.missing + report.reinitialized
    notes = [f"{len(alone)} tensors are segkit's alone, {alone[0]} the first of them"] if alone else []
    return [OWN, PEER], notes


def bound_activations(peer: nn.Module) -> None:
    """Bounds the outputs of a ResNet's blocks, which random weights double in each block."""
    for name, parameter in [*peer.named_parameters(), *peer.named_buffers()]:
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.3)


def build_side(options: Options, name: str, folder: Path) -> Any:
    """The model of one side with the weights of :func:`write_weights`, on its device."""
    device = chosen_device(options)
    cfg = load_config(options.config_file, options.overrides)
    model = build_random(cfg, options.num_classes)
    if name == PEER:
        assert options.size is not None
        peer = make_peer(model, cfg.model, options.size)
        peer.load_state_dict(torch.load(folder / PEER_FILE, weights_only=True))
        return peer.to(device)
    load_checkpoint(model, str(folder / OWN_FILE))
    model.to(device)
    if name.endswith("channels-first"):
        channels_first(model)
    if name.endswith("compiled"):
        model.compile_trunk()
    return model


def box_modules(model: Any, name: str) -> dict[str, nn.Module]:
    """The module that receives the boxes of each head, by the head's name."""
    heads = model.roi_heads
    if name == PEER:
        return {"box": heads.box_roi_pool, "mask": heads.mask_roi_pool}
    found: dict[str, Any] = {kind: getattr(heads, f"{kind}_head", None) for kind in ("box", "mask")}
    return {kind: head.pooler for kind, head in found.items() if hasattr(head, "pooler")}


def channels_first(model: nn.Module) -> None:
    """Makes every convolution take and return channels-first maps, as is torch's default."""

    def bring(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(arg.contiguous() for arg in args)

    model.to(memory_format=torch.contiguous_format)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_pre_hook(bring)


def compare(
    part: str,
    options: Options,
    make_side: Callable[[Options, str, Path], Side],
    *,
    situation: str,
    optimizer: bool,
    shape: Shape | None = None,
) -> Report:
    """Measures segkit, its selected variants and torchvision in turns.

    Args:
        part: name of ``make_side``'s module among the parts.
        make_side: builds a side by its name from the weights in a folder.
        situation: description for the report.
        optimizer: whether steps have an optimizer.
        shape: adapts the random weights before both sides load them.
    """
    device = chosen_device(options)
    if options.count_syncs and device.type != "cuda":
        raise SegkitError(f"--count-syncs needs a CUDA GPU; this is a {device.type}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names, notes = write_weights(options, folder, shape)
        names += variants(options, optimizer=optimizer)
        report = Report(part, situation, [], PEER, notes)
        report.details = {"options": asdict(options), "machine": machine(device)}
        sides = {name: make_side(options, name, folder) for name in names}
        work = measure_sides(report, sides, options, device)
        sides.clear()
        free(device)  # for the following processes
        if options.memory:
            add_memory(report, {name: peak_memory(part, name, options, folder) for name in names}, device)
    report.rows += work
    return report


def measure_sides(report: Report, sides: dict[str, Side], options: Options, device: torch.device) -> list[Row]:
    """Adds times and synchronisations to the report; returns rows that compare the sides' work."""
    first = {}
    for name, side in list(sides.items()):
        try:
            first[name] = side.counted()
        except torch.OutOfMemoryError:
            report.notes.append(f"{name}: out of memory")
            del sides[name], side
            free(device)
    times, failed = alternate({name: side.step for name, side in sides.items()}, options.runs or 1, device)
    report.rows += time_rows(times, options.batch or 1)
    report.details["seconds"] = times
    if options.count_syncs:
        add_syncs(report, {name: side.step for name, side in sides.items() if name in times})
    report.notes += [f"{name}: out of memory" for name in failed]
    return first_step_rows(first)


def time_rows(times: Mapping[str, list[float]], batch: int) -> list[Row]:
    medians = {name: median(seconds) for name, seconds in times.items()}
    return [
        Row("time a step", "s", medians, "peer/own"),
        Row("images a second", "", {name: batch / seconds for name, seconds in medians.items()}, "own/peer"),
    ]


def add_memory(report: Report, found: Mapping[str, float | str], device: torch.device) -> None:
    peaks = {name: peak / 2**20 for name, peak in found.items() if isinstance(peak, float)}
    report.rows.append(Row("peak memory", "MiB", peaks, "own/peer"))
    report.notes += [f"{name}: no peak memory: {why}" for name, why in found.items() if isinstance(why, str)]
    report.notes.append(memory_note(device.type))


def add_syncs(report: Report, steps: Mapping[str, Callable[[], Any]]) -> None:
    found = {name: count_syncs(step) for name, step in steps.items()}
    report.rows.append(Row("waits for the device", "", {name: float(c.total()) for name, c in found.items()}))
    report.details["waits"] = {name: dict(counts) for name, counts in found.items()}
    for name, counts in found.items():
        listed = ", ".join(f"{operation} {count}" for operation, count in counts.most_common())
        report.notes.append(f"{name} synchronises with the device in: {listed or 'nothing'}")


def first_step_rows(first: Mapping[str, tuple[Mapping[str, Any], Mapping[str, int]]]) -> list[Row]:
    """Rows that compare the sides' work: results of the first step, boxes of each head."""
    values = {
        side: {**{f"boxes of the {head} head": n for head, n in counts.items()}, **given}
        for side, (given, counts) in first.items()
    }
    names = dict.fromkeys(name for found in values.values() for name in found)
    return [
        Row(name, "", {side: float(found[name]) for side, found in values.items() if name in found}) for name in names
    ]
