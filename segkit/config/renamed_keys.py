"""Renamed keys: an error in a user's file, upgraded in a checkpoint's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segkit.registry import ALL_REGISTRIES
from segkit.utils.errors import SegkitError
from segkit.utils.renamed_arguments import RENAMED_ARGUMENTS as RENAMED_KEYS

__all__ = ["RENAMED_KEYS", "upgrade_saved_config"]


def upgrade_saved_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration that an earlier segkit saved, with the current names of its keys.

    A key of a spec is renamed if the component takes the new name and not the old one, so a user's component that
    has an argument ``samples`` keeps it. What has current names only is returned equal.

    Args:
        config: plain values, as :meth:`segkit.config.Config.to_dict` returns them and a checkpoint holds them. Its
            ``imports`` must have been imported, if specs name their components.
    """
    return {key: _upgraded(value) for key, value in config.items()}


def _upgraded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_upgraded(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    name = value.get("name", value.get("format"))
    renamed = {}
    if isinstance(name, str) and (old_keys := RENAMED_KEYS.keys() & value.keys()):
        options = _options(name)
        renamed = {k: RENAMED_KEYS[k] for k in old_keys if k not in options and RENAMED_KEYS[k] in options}
    return {
        renamed[key] if key in renamed and renamed[key] not in value else key: _upgraded(child)
        for key, child in value.items()
    }


def _options(name: str) -> set[str]:
    """All arguments of the components of that name, in any registry."""
    options: set[str] = set()
    for registry in ALL_REGISTRIES:
        if name in registry:
            try:
                options |= registry.signature(name).options.keys()
            except SegkitError:  # an unreadable constructor is an error when the configuration is checked
                continue
    return options
