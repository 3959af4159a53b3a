"""Imports at first use, which several threads may make at once."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

# Python locks a module before its package: a thread that imports a package and one that imports a module of it would wait
# for each other, and one of them would get an error.
_lock = threading.RLock()
TRIES = 20  # against an import statement of another thread, which asks for no lock


def import_once(name: str) -> ModuleType:
    """The module, imported whole; while another thread imports one by this function, it waits."""
    known = sys.modules.get(name)
    if known is not None and not being_imported(known):
        return known
    with _lock:
        for left in reversed(range(TRIES)):
            try:
                return importlib.import_module(name)
            except RuntimeError as error:
                if type(error).__name__ != "_DeadlockError" or not left:
                    raise
    raise AssertionError("unreachable")


def being_imported(module: ModuleType) -> bool:
    """Whether the import of a module has begun and not ended, or that of its package."""
    package = sys.modules.get(module.__name__.rpartition(".")[0])
    specs = [getattr(found, "__spec__", None) for found in (module, package) if found is not None]
    return any(getattr(spec, "_initializing", False) for spec in specs)
