"""The keys under ``solver``."""

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
    """``solver``: how the weights move."""

    optimizer: Annotated[Spec, Slot(OPTIMIZER_REGISTRY), Help("optimizer, with the learning rate")] = field(
        default_factory=lambda: Spec(name="AdamW", lr=1e-4, weight_decay=1e-2)
    )
    schedule: Annotated[Spec, Slot(SCHEDULE_REGISTRY), Help("learning rate over the training, warm-up included")] = (
        field(default_factory=lambda: Spec(name="Cosine"))
    )
    clip_norm: Annotated[
        float | None, Bounds(0, open_low=True), Help("the gradient's norm is cut to this; null: left alone")
    ] = None
    clip_value: Annotated[
        float | None,
        Bounds(0, open_low=True),
        Help("each component of the gradient is cut to this, before clip_norm; null: left alone"),
    ] = None
    base_batch_size: Annotated[
        int | None,
        Bounds(1),
        Help(
            "the images a step for which the learning rate is given: another number scales all learning rates in "
            "proportion; null: they are taken as they are"
        ),
    ] = None
    layer_decay: Annotated[
        float | None,
        Bounds(0, 1, open_low=True),
        Help("learning rates are multiplied by this for each backbone stage back from the last, itself included"),
    ] = None
    parameters: Annotated[
        tuple[ParameterRule, ...],
        Help("rules for some: {match: 'backbone.*', lr_factor: 0.1, weight_decay: 0} or {match: ..., freeze: true}"),
    ] = ()
