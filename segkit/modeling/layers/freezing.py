"""Which parameters do not train."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from segkit.utils.errors import SegkitError, nearest


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


def freeze_parameters(module: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters of ``module`` whose names match any of the shell patterns.

    Raises:
        SegkitError: a pattern that matches no parameter.
    """
    parameters = dict(module.named_parameters())
    for pattern in patterns:
        # Also the name of a layer alone: "features.0" means all that is in it.
        found = [name for name in parameters if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not found:
            raise SegkitError(_no_match(pattern, list(parameters)), key="freeze", value=pattern, choices=parameters)
        for name in found:
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


def _no_match(pattern: str, names: list[str]) -> str:
    parts = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 1)}
    word = pattern.rstrip("*.")
    near = nearest(word, parts)
    if not near:
        tops = sorted({".".join(name.split(".")[:2]) for name in names})
        return f"freeze: no parameter matches '{pattern}'; parts: {', '.join(tops[:12])}"
    return f"freeze: no parameter matches '{pattern}'; did you mean {' or '.join(repr(f'{part}.*') for part in near)}?"
