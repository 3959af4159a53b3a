"""Parameter groups of an optimizer: weight decay and learning rate factors of parameters."""

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
    """Returns the groups of all trainable parameters, each once, in the model's order.

    Args:
        model: its frozen parameters are in no group.
        weight_decay: of the parameters that decay.
        decay_norms_and_biases: if False, biases, the parameters of normalisation layers and per-channel scales
            (ConvNeXt's layer scale) form a second group without weight decay, which would not regularise them.
    Raises:
        SegkitError: every parameter is frozen.
    """
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            exempt = not decay_norms_and_biases and is_norm_or_bias(module, name, parameter)
            (undecayed if exempt else decayed).append(parameter)
    if not seen:
        raise SegkitError("nothing to train: every parameter of the model is frozen; raise 'trainable_stages'")
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def is_norm_or_bias(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a bias, part of a norm, or has one value per channel."""
    if isinstance(module, _NORMS) or name.endswith("bias"):
        return True
    per_channel = parameter.numel() == max(parameter.shape, default=1)
    return per_channel and not isinstance(module, _WEIGHTED)


@dataclass(frozen=True)
class Setting:
    """A parameter's factor of the learning rate and its weight decay (None: the optimizer's)."""

    lr_factor: float = 1.0
    weight_decay: float | None = None


def parameter_settings(
    names: Sequence[str],
    rules: Sequence[ParameterRule],
    *,
    scale: float = 1.0,
    layer_decay: Mapping[str, float] | None = None,
) -> dict[str, Setting]:
    """Returns the setting of each parameter.

    Args:
        names: of all parameters of the model.
        rules: of several matching rules, the last one with a value applies.
        scale: factor of all learning rates.
        layer_decay: factors by name, which multiply those of the rules; 1 for other names.
    Raises:
        SegkitError: a rule matches no parameter.
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
    """Splits any optimizer's parameter groups so that each parameter has its setting.

    A group's ``lr`` becomes the optimizer's times ``lr_factor``. The group also gets the keys ``lr_factor``, which the
    schedule reads, and ``param_names``. Parameters keep their order.

    Raises:
        SegkitError: a setting has a weight decay, and the optimizer has none.
    """
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    own = (p for group in optimizer.param_groups for p in group["params"] if id(p) not in name_of)
    name_of |= {id(parameter): f"optimizer's own {i}" for i, parameter in enumerate(own)}  # no rule matches it
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
    """Returns the parameter names of each group; None if a parameter has no name."""
    in_model = {} if model is None else {id(parameter): name for name, parameter in model.named_parameters()}
    names = [
        list(group["param_names"]) if "param_names" in group else [in_model.get(id(p), "") for p in group["params"]]
        for group in optimizer.param_groups
    ]
    return names if all(name for group in names for name in group) else None


def named_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """Returns the optimizer's state dict, with ``param_names`` in its groups if known."""
    state, names = optimizer.state_dict(), parameter_names(optimizer, model)
    if names is None:
        return state
    groups = [{**group, "param_names": own} for group, own in zip(state["param_groups"], names, strict=True)]
    return {**state, "param_groups": groups}


def reordered_state(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer, model: nn.Module | None = None
) -> dict[str, Any]:
    """Reorders a saved state for an optimizer with other groups of the same parameters.

    torch identifies saved parameters by their index alone, so that other groups of the same sizes would get each other's
    moments.

    Args:
        state: the result of :func:`named_state`, or the state of an optimizer after :func:`regroup`. A state without names
            is returned unchanged.
        model: has the names of parameters in groups without ``param_names``.
    Raises:
        ValueError: the optimizers have different parameters; the message names them.
    """
    saved, present = state["param_groups"], optimizer.param_groups
    names = parameter_names(optimizer, model)
    if names is None or not all("param_names" in group for group in saved):
        return dict(state)
    index_of = {n: i for group in saved for n, i in zip(group["param_names"], group["params"], strict=True)}
    difference = index_of.keys() ^ {name for group in names for name in group}
    if difference:
        some = ", ".join(sorted(difference)[:3])
        raise ValueError(
            f"{len(difference)} parameters are in one of the two only: {some}{', ...' * (len(difference) > 3)}"
        )
    groups = [
        {**{k: v for k, v in group.items() if k != "params"}, "params": [index_of[name] for name in own]}
        for group, own in zip(present, names, strict=True)
    ]
    return {"state": state["state"], "param_groups": groups}
