"""Which parameters train, and which of them decay."""

from __future__ import annotations

from typing import Any

from torch import nn

from segkit.utils.errors import SegkitError

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
