"""Loading a checkpoint into a whole model: segkit's own, or one of torchvision's detection models."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tabulate import tabulate
from torch import Tensor, nn

from segkit.modeling.weights import torchvision_detection
from segkit.modeling.weights.reading import named_tensors, read_file, skip_pretrained, skipping_pretrained
from segkit.utils.errors import SegkitError

__all__ = ["LoadReport", "load_checkpoint", "read_file", "skip_pretrained", "skipping_pretrained"]

logger = logging.getLogger(__name__)

# What depends on the classes: starts anew when a checkpoint has others.
PREDICTORS = ("roi_heads.box_head.classifier.", "roi_heads.box_head.offsets.", "roi_heads.mask_head.predictor.")


@dataclass
class LoadReport:
    """What came of loading a checkpoint; names of tensors.

    Attributes:
        loaded: in the file and in the model.
        reinitialized: of another shape or for other classes in the file: the model's own values stay.
        missing: in the model only.
        unused: in the file only.
        classes: the checkpoint's class names, where it has any.
        kind: who wrote the checkpoint.
    """

    kind: str
    classes: list[str] | None = None
    loaded: list[str] = field(default_factory=list)
    reinitialized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Counts of tensors, for each part of the model."""
        columns = (self.loaded, self.reinitialized, self.missing, self.unused)
        parts = list(dict.fromkeys(_part(name) for names in columns for name in names))
        rows = [[part, *(sum(_part(name) == part for name in names) for names in columns)] for part in parts]
        return tabulate(rows, headers=["part", "loaded", "start anew", "not in the file", "not in the model"])


def load_checkpoint(
    model: nn.Module, path: str, *, on_mismatch: Literal["error", "reinitialize"] = "error"
) -> LoadReport:
    """Load weights into a model.

    Args:
        model: as built; its ``classes`` (names), where it has any, are compared with the checkpoint's.
        path: a path, URL or ``segkit://`` path of a checkpoint of segkit or of a detection model of torchvision, told
            apart by content; or a name of torchvision's, as ``MaskRCNN_ResNet50_FPN_Weights.COCO_V1``.
        on_mismatch: ``error``: everything must fit, for prediction, evaluation and resuming. ``reinitialize``: for
            training on from other data: the predictors start anew if the classes differ, as does what has another shape.
    Returns:
        what was loaded and what was not; it is logged, too.
    Raises:
        SegkitError: the file cannot be read or does not fit.
    """
    assert on_mismatch in ("error", "reinitialize"), on_mismatch
    path = str(path)
    own = model.state_dict()
    if re.fullmatch(r"\w+_Weights\.\w+", path):
        state, classes = torchvision_detection.named_state(path)
        kind = "torchvision"
    else:
        content = read_file(path, "checkpoint")
        state, classes = named_tensors(content, path), _class_names(content)
        kind = "torchvision" if torchvision_detection.recognised(state) else "segkit"
    if any(key.startswith("backbone.bottom_up.") for key in state):
        raise SegkitError(f"checkpoint '{path}' is one of Detectron2's, which are not read yet", value=path)
    if kind == "torchvision":
        torchvision_detection.check_arithmetic(model, path, strict=on_mismatch == "error")
        state, classes = torchvision_detection.convert(state, path, num_classes=getattr(model, "num_classes", None))
    report = LoadReport(kind, classes)
    difference = class_difference(model, classes, own, state)
    if difference and on_mismatch == "error":
        raise SegkitError(f"checkpoint '{path}' is for other classes: {difference}", value=path)
    fitting: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name not in state:
            report.missing += [] if name.endswith("num_batches_tracked") else [name]
        elif state[name].shape != tensor.shape or (difference and name.startswith(PREDICTORS)):
            report.reinitialized.append(name)
        else:
            fitting[name] = state[name]
    report.loaded = list(fitting)
    report.unused = [name for name in state if name not in own and not name.endswith("num_batches_tracked")]
    if on_mismatch == "error" and (report.reinitialized or report.missing or report.unused):
        raise SegkitError(
            f"checkpoint '{path}' is of another architecture: {_problems(report, own, state)}", value=path
        )
    if not report.loaded:
        raise SegkitError(
            f"checkpoint '{path}' has nothing that fits this {type(model).__name__}: {_problems(report, own, state)}",
            value=path,
        )
    model.load_state_dict(fitting, strict=False)
    if difference:
        logger.warning("the predictors start anew, as '%s' is for other classes: %s", path, difference)
    partly = report.reinitialized or report.missing or report.unused
    logger.log(
        logging.WARNING if partly else logging.INFO,
        "loaded %d tensors from '%s' (%s)%s", len(report.loaded), path, kind, ":\n" + report.table() if partly else "",
    )  # fmt: skip
    return report


def class_difference(
    model: nn.Module, classes: Sequence[str] | None, own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> str:
    """In words, how a checkpoint's classes differ from the model's; empty where they don't or are not known."""
    expected = getattr(model, "classes", None)
    if expected is not None and classes is not None:
        if list(expected) == list(classes):
            return ""
        only = [name for name in classes if name not in expected]
        lacking = [name for name in expected if name not in classes]
        if not only and not lacking:
            return f"the same names in another order, {_names(classes)} there, {_names(expected)} here"
        return f"{len(classes)} there, {len(expected)} here; only there: {_names(only)}; only here: {_names(lacking)}"
    key = "roi_heads.box_head.classifier.bias"
    if key in own and key in state and own[key].shape != state[key].shape:
        told = f" ({_names(classes or expected or [])})" if classes or expected else ""
        return f"{len(state[key]) - 1} there, {len(own[key]) - 1} here{told}"
    return ""


def _class_names(content: Mapping[str, Any]) -> list[str] | None:
    classes = content.get("classes")
    return [str(name) for name in classes] if isinstance(classes, (list, tuple)) else None


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
