"""Errors for public names that have been replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from segkit.utils.errors import SegkitError


def removed_names(module: str, replacements: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a module's ``__getattr__``, which raises SegkitError for a removed name.

    Args:
        module: its name.
        replacements: what to use in place of each removed name.
    """

    def getattr_of_module(name: str) -> Any:
        if name in replacements:
            raise SegkitError(f"{module}.{name} has been removed; use {replacements[name]}", value=name)
        raise AttributeError(f"module '{module}' has no attribute '{name}'")

    return getattr_of_module
