"""Which parameters train, which of them decay, and which learn at another rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from segkit.config.parameter_rule import ParameterRule
from segkit.utils.errors import SegkitError
from segkit.utils.parameter_patterns import matching_names

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)
_WEIGHTED = (nn.Linear, nn.Bilinear, nn.Embedding, nn.modules.conv._ConvNd)


def parameter_groups(
    model: nn.Module, *, weight_decay: float, decay_norms_and_biases: bool = True
) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimizer: all that requires a gradient, each parameter once, in the model's order.

    Args:
        model: its frozen parameters are left out.
        weight_decay: for the parameters that decay.
        decay_norms_and_biases: with False, biases, the parameters of normalisation layers and per-channel scales
            (ConvNeXt's layer scale) form a second group without decay: pulling them to zero regularises nothing.
    Raises:
        SegkitError: every parameter is frozen.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            undecayed = not decay_norms_and_biases and is_norm_or_bias(module, name, parameter)
            (kept if undecayed else decayed).append(parameter)
    if not seen:
        raise SegkitError("nothing to train: every parameter of the model is frozen; raise 'trainable_stages'")
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def is_norm_or_bias(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether ``module``'s own parameter ``name`` is a bias, belongs to a normalisation or is one value a channel."""
    if isinstance(module, _NORMS) or name.endswith("bias"):
        return True
    one_a_channel = parameter.numel() == max(parameter.shape, default=1)
    return one_a_channel and not isinstance(module, _WEIGHTED)


@dataclass(frozen=True)
class Setting:
    """How a parameter trains: its factor of the learning rate, and its weight decay (None: the optimizer's)."""

    lr_factor: float = 1.0
    weight_decay: float | None = None


def parameter_settings(
    names: Sequence[str],
    rules: Sequence[ParameterRule],
    *,
    scale: float = 1.0,
    layer_decay: Mapping[str, float] | None = None,
) -> dict[str, Setting]:
    """How each parameter trains.

    Args:
        names: of all the model's parameters.
        rules: of several that match, the last one that gives a value counts.
        scale: the factor of all.
        layer_decay: factors by name, which go on top of those of the rules; 1 for names that are not in it.
    Raises:
        SegkitError: a rule that matches no parameter.
    """
    factors, decays = dict.fromkeys(names, 1.0), dict[str, float]()
    for i, rule in enumerate(rules):
        for name in matching_names(rule.match, names, f"solver.parameters[{i}].match"):
            if rule.lr_factor is not None:
                factors[name] = rule.lr_factor
            if rule.weight_decay is not None:
                decays[name] = rule.weight_decay
    depth = layer_decay or {}
    return {name: Setting(scale * factors[name] * depth.get(name, 1.0), decays.get(name)) for name in names}


def regroup(optimizer: torch.optim.Optimizer, model: nn.Module, settings: Mapping[str, Setting]) -> None:
    """Splits an optimizer's parameter groups so that each parameter trains by its setting. Works with any optimizer.

    A group's ``lr`` becomes the optimizer's times ``lr_factor``, which the group then has too (for the schedule), as it has
    the ``param_names``. Parameters keep their order.

    Raises:
        SegkitError: a setting gives a weight decay, and the optimizer has none.
    """
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    own = (p for group in optimizer.param_groups for p in group["params"] if id(p) not in name_of)
    name_of |= {id(parameter): f"optimizer's own {i}" for i, parameter in enumerate(own)}  # which no rule can mean
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: dict[Setting, list[tuple[str, nn.Parameter]]] = {}
        for parameter in group["params"]:
            name = name_of[id(parameter)]
            parts.setdefault(settings.get(name, Setting()), []).append((name, parameter))
        for setting, members in parts.items():
            part = {key: value for key, value in group.items() if key not in ("params", "param_names")}
            part["lr"] = group["lr"] * setting.lr_factor
            part["lr_factor"] = setting.lr_factor
            if setting.weight_decay is not None:
                if "weight_decay" not in group:
                    raise SegkitError("solver.parameters: the optimizer has no weight_decay", key="solver.parameters")
                part["weight_decay"] = setting.weight_decay
            groups.append({**part, "params": members})
    optimizer.param_groups.clear()
    for group in groups:
        optimizer.add_param_group(group)


def parameter_names(optimizer: torch.optim.Optimizer, model: nn.Module | None = None) -> list[list[str]] | None:
    """The names of each group's parameters: the group's own, or those in the model. None: some parameter has none."""
    in_model = {} if model is None else {id(parameter): name for name, parameter in model.named_parameters()}
    names = [
        list(group["param_names"]) if "param_names" in group else [in_model.get(id(p), "") for p in group["params"]]
        for group in optimizer.param_groups
    ]
    return names if all(name for group in names for name in group) else None


def named_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """The optimizer's state dict whose groups have ``param_names``, where all of them are known."""
    state, names = optimizer.state_dict(), parameter_names(optimizer, model)
    if names is None:
        return state
    groups = [{**group, "param_names": own} for group, own in zip(state["param_groups"], names, strict=True)]
    return {**state, "param_groups": groups}


def reordered_state(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer, model: nn.Module | None = None
) -> dict[str, Any]:
    """An optimizer's saved state for an optimizer whose groups hold the same parameters, put together in another way.

    torch tells saved parameters apart by their number alone, so that other groups of the same sizes would get one
    another's moments.

    Args:
        state: of :func:`named_state` or of an optimizer that :func:`regroup` has been through; one without names is given
            back as it is.
        model: names the parameters of groups without ``param_names``.
    Raises:
        ValueError: other parameters; it says which.
    """
    saved, present = state["param_groups"], optimizer.param_groups
    names = parameter_names(optimizer, model)
    if names is None or not all("param_names" in group for group in saved):
        return dict(state)
    number_of = {n: i for group in saved for n, i in zip(group["param_names"], group["params"], strict=True)}
    difference = number_of.keys() ^ {name for group in names for name in group}
    if difference:
        some = ", ".join(sorted(difference)[:3])
        raise ValueError(
            f"{len(difference)} parameters train in one of the two only: {some}{', ...' * (len(difference) > 3)}"
        )
    groups = [
        {**{k: v for k, v in group.items() if k != "params"}, "params": [number_of[name] for name in own]}
        for group, own in zip(present, names, strict=True)
    ]
    return {"state": state["state"], "param_groups": groups}
