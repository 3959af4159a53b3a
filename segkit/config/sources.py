"""Reads a configuration from a Config, a path or a dictionary, with overrides."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.config.loader import load_config, load_config_dict
from segkit.config.schema import Config
from segkit.config.spec import to_plain
from segkit.utils.errors import SegkitError

ConfigSource = Config | str | os.PathLike[str] | Mapping[str, Any]
Overrides = Sequence[str] | Mapping[str, Any]


def as_config(config: ConfigSource, overrides: Overrides = ()) -> Config:
    """A checked configuration from any of its forms, with overrides.

    Args:
        config: a configuration, the path of a YAML file, or its content as a dictionary, ``_BASE_`` included.
        overrides: values by key, or texts as on the command line.
    """
    texts = as_texts(overrides)
    if isinstance(config, Config):
        return config.with_overrides(texts) if texts else config
    if isinstance(config, (str, os.PathLike)):
        return load_config(config, texts)
    if isinstance(config, Mapping):
        return load_config_dict(config, "config", texts, saved=False)
    raise SegkitError(
        f"config: expected a Config, the path of a YAML file or a dictionary, not a {type(config).__name__}",
        key="config",
    )


def as_texts(overrides: Overrides) -> list[str]:
    """Overrides as on the command line: ``KEY=VALUE`` with the value as JSON, which is YAML."""
    if isinstance(overrides, str):
        raise SegkitError(
            f"overrides: expected a dictionary or a list, as ['KEY=VALUE'], not the text '{overrides}'", key="overrides"
        )
    if not isinstance(overrides, Mapping):
        return [str(text) for text in overrides]
    try:
        return [f"{key}={json.dumps(to_plain(value))}" for key, value in overrides.items()]
    except TypeError as error:
        raise SegkitError(f"overrides: a value is no plain one ({error})", key="overrides") from error
