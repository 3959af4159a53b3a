"""Makes a component of any ``torch.optim.Optimizer``, from torch or another library."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from segkit.registry import OPTIMIZER_REGISTRY
from segkit.solver.parameter_groups import parameter_groups
from segkit.utils.components.adapter import component_like
from segkit.utils.components.signature import signature_of
from segkit.utils.errors import SegkitError


@OPTIMIZER_REGISTRY.adapts(torch.optim.Optimizer, "torch.optim")
def adapt_optimizer(cls: Any) -> Any:
    """Returns a component that builds a ``cls`` over the model's parameter groups.

    If ``cls`` has a ``weight_decay``, the component also has the option ``decay_norms_and_biases``. A class that takes the
    ``model``, or has ``params`` as its only positional parameter, is returned unchanged.

    Raises:
        SegkitError: its step needs something that the trainer does not pass.
    """
    schema = signature_of(cls, OPTIMIZER_REGISTRY.runtime)
    options = [p for p in schema.options.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    base = schema.inherited & {"defaults"}  # a parameter of torch.optim.Optimizer, which no **kwargs passes on
    if "model" in schema.runtime and (base or "params" in schema.inherited):
        return component_like(cls, cls, runtime=["model"], without={"model", "params", *base})
    if "model" in schema.runtime or (schema.runtime and not options):
        return cls
    closure = inspect.signature(cls.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise SegkitError(
            f"{cls.__name__} computes the loss several times a step (closure), which the trainer does not support"
        )
    if cls is torch.optim.SparseAdam:
        raise SegkitError("SparseAdam needs sparse gradients, and a detector has none; use AdamW")
    first = next(iter(inspect.signature(cls).parameters))
    decays = "weight_decay" in schema.options

    def make(model: nn.Module, **arguments: Any) -> torch.optim.Optimizer:
        whole = arguments.pop("decay_norms_and_biases", True)
        groups: list[dict[str, Any]] = parameter_groups(
            model, weight_decay=arguments.get("weight_decay", 0.0), decay_norms_and_biases=whole
        )
        if not decays:
            groups = [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]
        try:
            return cls(groups, **arguments)
        except SegkitError:
            raise
        except Exception as error:  # libraries raise many types for wrong arguments
            raise SegkitError(f"{cls.__name__} refuses its arguments: {type(error).__name__}: {error}") from error

    more = {"decay_norms_and_biases": (bool, True)} if decays else {}
    return component_like(make, cls, runtime=["model"], without={first, "params", *base}, more=more)
