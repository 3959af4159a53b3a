"""Freezes stages and parameters, and keeps frozen modules in eval mode."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from segkit.utils.errors import SegkitError
from segkit.utils.parameter_patterns import matching_names


def freeze_stages(stages: Sequence[nn.Module], trainable_stages: int | None) -> None:
    """Freezes all but the last ``trainable_stages`` of ``stages``, which begin with the stem."""
    if trainable_stages is None:
        return
    if not 0 <= trainable_stages <= len(stages):
        raise SegkitError(
            f"trainable_stages is {trainable_stages}; expected 0 (all frozen) to {len(stages)} (all train, the stem too)",
            key="trainable_stages",
            value=trainable_stages,
        )
    for stage in stages[: len(stages) - trainable_stages]:
        stage.requires_grad_(False)


def freeze_parameters(module: nn.Module, patterns: Sequence[str], key: str = "freeze") -> None:
    """Freezes the parameters of ``module`` whose names match one of the shell patterns.

    Args:
        key: the configuration's key in the message.
    Raises:
        SegkitError: a pattern matches no parameter.
    """
    parameters = dict(module.named_parameters())
    for pattern in patterns:
        for name in matching_names(pattern, list(parameters), key):
            parameters[name].requires_grad_(False)


def eval_frozen(module: nn.Module) -> None:
    """Puts submodules whose parameters are all frozen into eval mode; ends ``train()``.

    So frozen batch norms keep their running statistics, and frozen blocks drop no paths.
    """
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        eval_frozen(child)
