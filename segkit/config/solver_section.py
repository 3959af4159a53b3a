"""The keys under ``solver``: optimizer, learning rates, gradient clipping."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from segkit.config.help import Help
from segkit.config.parameter_rule import ParameterRule
from segkit.config.spec import Spec
from segkit.config.typecheck import Bounds
from segkit.registry import OPTIMIZER_REGISTRY, SCHEDULE_REGISTRY, Slot


@dataclass(frozen=True, kw_only=True)
class SolverConfig:
    """``solver``: optimizer, learning rates and gradient clipping."""

    optimizer: Annotated[Spec, Slot(OPTIMIZER_REGISTRY), Help("optimizer, with the base learning rate")] = field(
        default_factory=lambda: Spec(name="AdamW", lr=1e-4, weight_decay=1e-2)
    )
    schedule: Annotated[Spec, Slot(SCHEDULE_REGISTRY), Help("learning rate over the training, warm-up included")] = (
        field(default_factory=lambda: Spec(name="Cosine"))
    )
    clip_norm: Annotated[
        float | None, Bounds(0, open_low=True), Help("largest norm of the gradient; null: no limit")
    ] = None
    clip_value: Annotated[
        float | None,
        Bounds(0, open_low=True),
        Help("largest absolute value of a gradient's component, applied before clip_norm; null: no limit"),
    ] = None
    base_batch_size: Annotated[
        int | None,
        Bounds(1),
        Help(
            "images per step that the learning rate is meant for; with another number all learning rates are scaled in "
            "proportion; null: no scaling"
        ),
    ] = None
    layer_decay: Annotated[
        float | None,
        Bounds(0, 1, open_low=True),
        Help("factor of the learning rate per backbone stage, counted back from the last, itself included; null: none"),
    ] = None
    parameters: Annotated[
        tuple[ParameterRule, ...],
        Help(
            "rules for some of them: {match: 'backbone.*', lr_factor: 0.1, weight_decay: 0}, {match: ..., freeze: true}"
        ),
    ] = ()
