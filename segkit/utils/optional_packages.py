"""Packages that only some features need."""

from __future__ import annotations

import importlib.util

from segkit.utils.errors import MissingPackage


def require(package: str, extra: str, purpose: str) -> None:
    """Raises MissingPackage, with the line that installs it, if a package cannot be imported."""
    if importlib.util.find_spec(package) is None:
        raise MissingPackage(f"{purpose} needs {package}: pip install 'segkit[{extra}]'", key=package)
