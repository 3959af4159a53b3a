"""Renames layers in state dicts that were saved under a former name."""

from __future__ import annotations

from typing import Any

from torch import nn


def rename_layer(module: nn.Module, state_dict: dict[str, Any], prefix: str, old: str, new: str) -> None:
    """Renames the tensors of a module's layer ``old`` to ``new``, in place.

    For a module's ``_load_from_state_dict``: checkpoints from before the renaming load as they are. A subclass may have
    a layer of its own called ``old``; nothing is renamed then.

    Args:
        module: the module that is loaded.
        state_dict: by full names.
        prefix: of the module, "" or ending in a dot.
        old: former name of its layer.
        new: current name.
    """
    if hasattr(module, old):
        return
    start = f"{prefix}{old}."
    for name in [name for name in state_dict if name.startswith(start)]:
        state_dict[f"{prefix}{new}.{name.removeprefix(start)}"] = state_dict.pop(name)
