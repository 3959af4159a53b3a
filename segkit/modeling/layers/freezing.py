"""Which parameters do not train."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from segkit.utils.errors import SegkitError
from segkit.utils.parameter_patterns import matching_names


def freeze_stages(stages: Sequence[nn.Module], trainable_stages: int | None) -> None:
    """Freeze all but the last ``trainable_stages`` of ``stages`` (input to output, the stem first; None trains all)."""
    if trainable_stages is None:
        return
    if not 0 <= trainable_stages <= len(stages):
        raise SegkitError(
            f"trainable_stages is {trainable_stages}; it is from 0 (all frozen) to {len(stages)} (all train, the stem too)",
            key="trainable_stages",
            value=trainable_stages,
        )
    for stage in stages[: len(stages) - trainable_stages]:
        stage.requires_grad_(False)


def freeze_parameters(module: nn.Module, patterns: Sequence[str], key: str = "freeze") -> None:
    """Freeze the parameters of ``module`` whose names match any of the shell patterns (see :func:`matching_names`).

    Args:
        key: the configuration's key, for the message.
    Raises:
        SegkitError: a pattern that matches no parameter.
    """
    parameters = dict(module.named_parameters())
    for pattern in patterns:
        for name in matching_names(pattern, list(parameters), key):
            parameters[name].requires_grad_(False)


def eval_frozen(module: nn.Module) -> None:
    """Put every part of ``module`` that has parameters, none of which trains, in eval mode.

    So frozen batch norms keep their statistics, and frozen blocks drop no paths. To be called at the end of ``train()``.
    """
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        eval_frozen(child)
