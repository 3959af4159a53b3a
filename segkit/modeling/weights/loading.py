"""Loads a checkpoint of segkit, torchvision or Detectron2 into a whole model."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from tabulate import tabulate
from torch import Tensor, nn

from segkit.modeling.layers.preprocessing import IMAGENET_STD
from segkit.modeling.layers.stem import adapt_stem_weight
from segkit.modeling.weights.arithmetic import differences
from segkit.modeling.weights.converted import Converted
from segkit.modeling.weights.pixels import fold_pixels
from segkit.modeling.weights.reading import read_file, skip_pretrained, skipping_pretrained
from segkit.modeling.weights.recognition import read_weights
from segkit.utils.errors import SegkitError

__all__ = ["LoadReport", "load_checkpoint", "read_file", "skip_pretrained", "skipping_pretrained"]

logger = logging.getLogger(__name__)

# Tensors that depend on the classes: reinitialised if a checkpoint has other classes.
PREDICTORS = re.compile(r"roi_heads\.(box_heads?(\.\d+)?\.(classifier|deltas)|mask_head\.predictor)\.")
CLASSIFIER = re.compile(r"roi_heads\.box_heads?(\.\d+)?\.classifier\.bias")

# The first convolution of ResNets, into which the pixel format of other frameworks is folded.
STEM = "backbone.conv1.weight"


@dataclass
class LoadReport:
    """Names of the tensors that a checkpoint loaded, changed, lacked or had in excess.

    Attributes:
        kind: origin of the checkpoint, as in ``Converted``.
        classes: the checkpoint's class names, if it has any.
        loaded: from the file into the model.
        changed: those of them with other values than in the file, and how they were changed.
        reinitialized: with another shape or other classes in the file; the model's own values stay.
        missing: in the model only.
        unused: in the file only.
    """

    kind: str
    classes: list[str] | None = None
    loaded: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    reinitialized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Table of the tensor counts for each part of the model."""
        columns = (self.loaded, list(self.changed), self.reinitialized, self.missing, self.unused)
        parts = list(dict.fromkeys(_part(name) for names in columns for name in names))
        rows = [[part, *(sum(_part(name) == part for name in names) for names in columns)] for part in parts]
        headers = ["part", "loaded", "of these changed", "reinitialized", "not in the file", "unused"]
        return tabulate(rows, headers=headers)

    def changes(self) -> list[tuple[str, str]]:
        """Each kind of change and the names of the changed tensors."""
        ways = dict.fromkeys(self.changed.values())
        return [(how, _names([name for name in self.changed if self.changed[name] == how], 3)) for how in ways]


def load_checkpoint(
    model: nn.Module,
    path: str,
    *,
    on_mismatch: Literal["error", "reinitialize"] = "error",
    content: Mapping[str, Any] | None = None,
) -> LoadReport:
    """Loads weights into a model.

    Args:
        model: its ``classes`` (names), if it has any, are compared with the checkpoint's.
        path: a path, URL, ``segkit://`` or ``detectron2://`` path of a checkpoint of segkit, of a torchvision or
            Detectron2 detector, or of a backbone, recognised by its content; or torchvision's name of weights, such as
            ``MaskRCNN_ResNet50_FPN_Weights.COCO_V1``.
        on_mismatch: ``error``: everything must fit, for prediction, evaluation and resuming. ``reinitialize``: for
            fine-tuning on other data: predictors for other classes and tensors of another shape are reinitialised, a
            backbone alone is enough, and settings that differ from the weights' are a warning.
        content: of the file, if it has been read before (see ``checkpoint_content``); ``path`` is for messages then.
    Returns:
        which tensors were loaded and which were not; it is also logged.
    Raises:
        SegkitError: the file cannot be read or does not fit.
    """
    assert on_mismatch in ("error", "reinitialize"), on_mismatch
    path, strict = str(path), on_mismatch == "error"
    own = model.state_dict()
    weights = read_weights(path, own, getattr(model, "num_classes", None), content)
    if strict and weights.kind != "segkit" and weights.backbone_only:
        raise SegkitError(
            f"checkpoint '{path}' contains the weights of a backbone only, to start training from: give them as "
            "train.init_weights or the backbone's 'weights'",
            value=path,
        )
    _check_arithmetic(model, weights, path, strict)
    _fold_pixels(model, weights)
    if not strict:
        _adapt_stem(model, own, weights)
    report, difference = _compare(model, own, weights)
    if difference and strict:
        raise SegkitError(f"checkpoint '{path}' is for other classes: {difference}", value=path)
    hint = f"; its configuration is {weights.config}" if weights.config else ""
    if strict and (report.reinitialized or report.missing or report.unused):
        raise SegkitError(
            f"checkpoint '{path}' is for another architecture: {_problems(report, own, weights.state)}{hint}",
            value=path,
        )
    if not report.loaded:
        raise SegkitError(
            f"checkpoint '{path}' has nothing that fits this {type(model).__name__}: "
            f"{_problems(report, own, weights.state)}{hint}",
            value=path,
        )
    model.load_state_dict({name: weights.state[name] for name in report.loaded}, strict=False)
    if difference:
        logger.warning("the predictors are reinitialised, because '%s' is for other classes: %s", path, difference)
    _log(report, path)
    return report


def _check_arithmetic(model: nn.Module, weights: Converted, path: str, strict: bool) -> None:
    """Raises a SegkitError, or warns if not ``strict``, if settings differ from the weights'."""
    found = differences(model, weights)
    if not found:
        return
    see = f"; see {weights.config}" if weights.config else ""
    message = f"'{path}' was trained with other settings than this model's: {'; '.join(found)}{see}"
    if strict:
        raise SegkitError(message, value=path)
    logger.warning("%s", message)  # training can make up for it


def _fold_pixels(model: nn.Module, weights: Converted) -> None:
    """Converts the stem to the model's pixel format: RGB in 0..1, divided by ``pixel_std``."""
    std = getattr(model, "pixel_std", None)
    stem = weights.state.get(STEM)
    if weights.pixels is None or std is None or stem is None or stem.shape[1] != len(std):
        return
    folded = fold_pixels(stem, weights.pixels, std.cpu())
    if folded is not stem:
        weights.state[STEM] = folded
        weights.changed[STEM] = f"from {weights.pixels} to RGB in 0..1 by the model's pixel_std"


def _adapt_stem(model: nn.Module, own: Mapping[str, Tensor], weights: Converted) -> None:
    """Adapts a stem for RGB to a model of other channels, as for a backbone's own weights."""
    name = f"backbone.{getattr(getattr(model, 'backbone', None), 'stem_path', '')}.weight"
    stem = weights.state.get(name)
    if stem is None or name not in own or stem.dim() != 4 or stem.shape[1] != 3 or own[name].shape[1] == 3:
        return
    channels = own[name].shape[1]
    if weights.pixels is not None:  # the model's own deviations belong to other channels
        stem = fold_pixels(stem, weights.pixels, torch.tensor(IMAGENET_STD))
    weights.state[name] = adapt_stem_weight(stem, channels)
    weights.changed[name] = f"from RGB to {channels} channel{'s' * (channels != 1)}"


def _compare(model: nn.Module, own: Mapping[str, Tensor], weights: Converted) -> tuple[LoadReport, str]:
    """Which tensors can be loaded, and how the classes differ (see :func:`class_difference`)."""
    state = weights.state
    report = LoadReport(weights.kind, weights.classes)
    difference = class_difference(model, weights.classes, own, state)
    for name, tensor in own.items():
        if name not in state:
            report.missing += [] if name.endswith("num_batches_tracked") else [name]
        elif state[name].shape != tensor.shape or (difference and PREDICTORS.match(name)):
            report.reinitialized.append(name)
        else:
            report.loaded.append(name)
    report.changed = {name: how for name, how in weights.changed.items() if name in report.loaded}
    report.unused = [name for name in state if name not in own and not name.endswith("num_batches_tracked")]
    return report, difference


def _log(report: LoadReport, path: str) -> None:
    partly = report.reinitialized or report.missing or report.unused
    changes = [f"changed: {names} ({how})" for how, names in report.changes()]
    details = [report.table(), *changes] if partly or changes else []
    logger.log(
        logging.WARNING if partly else logging.INFO,
        "loaded %d tensors from '%s' (%s)%s",
        len(report.loaded),
        path,
        report.kind,
        ":\n" + "\n".join(details) if details else "",
    )


def class_difference(
    model: nn.Module, classes: Sequence[str] | None, own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> str:
    """Describes how a checkpoint's classes differ from the model's; empty if they do not."""
    expected = getattr(model, "classes", None)
    if expected is not None and classes is not None:
        if list(expected) == list(classes):
            return ""
        only = [name for name in classes if name not in expected]
        lacking = [name for name in expected if name not in classes]
        if not only and not lacking:
            return f"the same names in another order, {_names(classes)} there, {_names(expected)} here"
        return f"{len(classes)} there, {len(expected)} here; only there: {_names(only)}; only here: {_names(lacking)}"
    key = next((name for name in own if CLASSIFIER.fullmatch(name)), None)
    if key is not None and key in state and own[key].shape != state[key].shape:
        listed = f" ({_names(classes or expected or [])})" if classes or expected else ""
        return f"{len(state[key]) - 1} there, {len(own[key]) - 1} here{listed}"
    return ""


def _names(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "none"


def _part(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "roi_heads" else parts[0]


def _problems(report: LoadReport, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    shapes = [f"{n} is {list(state[n].shape)}, here {list(own[n].shape)}" for n in report.reinitialized]
    problems = []
    for what, items in (
        ("of another shape", shapes), ("not in the file", report.missing), ("not in the model", report.unused)
    ):  # fmt: skip
        if items:
            problems.append(f"{len(items)} tensors {what} ({_names(items, 3)})")
    return "; ".join(problems)
