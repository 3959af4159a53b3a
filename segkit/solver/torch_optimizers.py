"""Any optimizer of torch's, or of a library that derives from ``torch.optim.Optimizer``, as a component."""

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
    """A component that makes a ``cls`` over the model's parameter groups, with the arguments of ``cls``.

    Where ``cls`` has a ``weight_decay``, there is the option ``decay_norms_and_biases`` besides. A class that takes the
    ``model``, or whose positional parameters are the builder's ``params`` alone, is taken as it is.

    Raises:
        SegkitError: its steps need what the trainer does not give.
    """
    schema = signature_of(cls, OPTIMIZER_REGISTRY.runtime)
    options = [p for p in schema.options.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    base = schema.inherited & {"defaults"}  # of torch.optim.Optimizer, to which no **kwargs hands it on
    if "model" in schema.runtime and (base or "params" in schema.inherited):
        return component_like(cls, cls, runtime=["model"], without={"model", "params", *base})
    if "model" in schema.runtime or (schema.runtime and not options):
        return cls
    closure = inspect.signature(cls.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise SegkitError(
            f"{cls.__name__} works out the loss several times a step (closure), which the trainer does not"
        )
    if cls is torch.optim.SparseAdam:
        raise SegkitError("SparseAdam takes sparse gradients only, and a detector has none; take AdamW")
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
        except Exception as error:  # what a library says of arguments comes in many types
            raise SegkitError(f"{cls.__name__} refuses its arguments: {type(error).__name__}: {error}") from error

    more = {"decay_norms_and_biases": (bool, True)} if decays else {}
    return component_like(make, cls, runtime=["model"], without={first, "params", *base}, more=more)
