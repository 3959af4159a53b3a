"""Builds evaluators from their specs and the run-time values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segkit.registry import EVALUATOR_REGISTRY


def build_from_specs(
    specs: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str],
    category_ids: Sequence[int],
    max_detections: int,
    results_dir: str | None = None,
    class_agnostic: bool = False,
    predicts_masks: bool = True,
    frequencies: Sequence[str | None] = (),
) -> list[Any]:
    """Builds evaluators.

    Args:
        specs: of ``EVALUATOR_REGISTRY``.
        classes: name of each label.
        category_ids: the id of each label in files.
        max_detections: the model's limit of detections per image.
        results_dir: the folder of the evaluators' files; None: none are written.
        class_agnostic: whether the detections have no class.
        predicts_masks: whether the detections have masks.
        frequencies: ``r``, ``c`` or ``f`` (rare, common, frequent) of each label, as LVIS has them; empty if unknown.
    Raises:
        SegkitError: a spec that does not fit; the message has its key path.
    """
    runtime = {
        "classes": classes,
        "category_ids": category_ids,
        "max_detections": max_detections,
        "results_dir": results_dir,
        "class_agnostic": class_agnostic,
        "predicts_masks": predicts_masks,
        "frequencies": frequencies,
    }
    return [EVALUATOR_REGISTRY.build(spec, path=f"evaluators[{i}]", **runtime) for i, spec in enumerate(specs)]
