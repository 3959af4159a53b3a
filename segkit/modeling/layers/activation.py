"""Activations by name, for components with an ``activation`` argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import nn

from segkit.config.typecheck import Checked
from segkit.modeling.layers.torch_layers import check_arguments_of, layer_class, make_layer, split_spec
from segkit.utils.errors import SegkitError

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
HOMES = ("torch.nn.modules.activation", "torch.nn.modules.linear")  # nn.Identity is in the latter


def check_activation(activation: Any) -> None:
    """Raises a SegkitError unless ``activation`` is what :func:`make_activation` takes."""
    name, arguments = split_spec(activation, "activation")
    if name in ACTIVATIONS:
        if arguments:
            raise SegkitError(f"'{name}' takes no arguments; with arguments, name torch's class: torch.nn.LeakyReLU")
        return
    check_arguments_of(layer_class(name, "activation", list(ACTIVATIONS), HOMES), name, arguments, ())
    if arguments.get("num_parameters", 1) != 1:
        raise SegkitError(
            f"{name}: an activation does not know the number of channels; omit num_parameters, for one slope"
        )


ActivationName = Annotated[
    str | Mapping[str, Any],
    Checked(check_activation, "'relu' or 'gelu' or 'silu' or a class {name: torch.nn.LeakyReLU, negative_slope: 0.1}"),
]


def make_activation(activation: str | Mapping[str, Any], *, inplace: bool = False) -> nn.Module:
    """Builds an elementwise activation layer.

    Args:
        activation: ``relu``, ``gelu``, ``silu``; the dotted path of an activation's class, such as ``torch.nn.Mish``; or
            ``{name: torch.nn.LeakyReLU, negative_slope: 0.1}``.
        inplace: for ``relu``: overwrite the input.
    Raises:
        SegkitError: there is no such activation, or it is not elementwise.
    """
    check_activation(activation)
    name, arguments = split_spec(activation, "activation")
    if name == "relu":
        return nn.ReLU(inplace=inplace)
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]()
    return make_layer(layer_class(name, "activation", list(ACTIVATIONS), HOMES), name, arguments, _is_pointwise)


def _is_pointwise(layer: nn.Module) -> bool:
    """Whether a layer's output for a part of a map equals that part of its whole output."""
    x = torch.linspace(-2, 3, 24).reshape(2, 3, 2, 2)
    whole = layer(x.clone())
    parts = ((slice(None), slice(1, 2)), (slice(1, 2),), (..., slice(1, 2), slice(0, 1)))
    return whole.shape == x.shape and all(torch.equal(whole[part], layer(x[part].clone())) for part in parts)
