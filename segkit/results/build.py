"""Builds the writers that a command names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.utils.errors import SegkitError


def writer_spec(text: str) -> dict[str, Any]:
    """Reads ``NAME`` or ``NAME:OPTION=VALUE,OPTION=VALUE``, as ``crops:margin=8``.

    Values are read as YAML.

    Raises:
        SegkitError: an option has no value, or stands twice.
    """
    from segkit.config.overrides import parse_overrides

    name, _, options = text.partition(":")
    spec: dict[str, Any] = {RESULT_WRITER_REGISTRY.key: name.strip()}
    for option in filter(None, re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", options)):  # a value may have commas: [8, 8]
        key, sign, value = option.partition("=")
        key = key.strip()
        if not sign or not key or key in spec:
            why = "stands twice" if key in spec else "has no value"
            raise SegkitError(
                f"--write {text}: '{option}' {why}; expected NAME:OPTION=VALUE,...", key="--write", value=text
            )
        ((_, node),) = parse_overrides([f"{key}={value}"])
        spec[key] = node.plain()
    return spec


def build_writers(specs: Sequence[Mapping[str, Any]], **runtime: Any) -> list[ResultWriter]:
    """Builds each writer of a prediction.

    Args:
        specs: ``{name: X, option: value}``; each writer once.
        runtime: ``output``, ``classes``, ``category_ids``, ``parts``, and ``image_ids`` and ``id_map`` if there are any.
    Raises:
        SegkitError: a name or an option is unknown, or a writer is named twice.
    """
    names = [spec[RESULT_WRITER_REGISTRY.key] for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise SegkitError(f"--write: '{name}' stands twice", key="--write", value=name)
    made = []
    for spec in specs:
        try:
            made.append(RESULT_WRITER_REGISTRY.build(spec, path="--write", **runtime))
        except SegkitError as error:
            message = str(error).replace(f"--write.{RESULT_WRITER_REGISTRY.key}:", "--write:")
            raise SegkitError(message, key="--write", value=error.value, choices=error.choices) from error
    return made


def check_writers(specs: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Raises SegkitError if a name or an option is wrong; writes nothing.

    Args:
        specs: as of :func:`build_writers`.
        output: the folder of the prediction.
    """
    parts = PartFiles(output / ".none")
    build_writers(specs, output=output, classes=[], category_ids=[], parts=parts, image_ids={}, id_map=[])
