"""Imports at first use, safe if several threads import at once.

Two private names of importlib are read, each with a default: ``_DeadlockError``, by the name of its class, and
``ModuleSpec._initializing``. tests/registry/test_threads.py imports from many threads in new processes.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

# Python locks a module before its package. A thread that imports a package and one that imports a module in it wait for
# each other, and one of them gets an error: one lock for all lazy imports prevents that.
_lock = threading.RLock()
TRIES = 20  # an import statement in another thread does not take the lock, and can still cause that error


def import_once(name: str) -> ModuleType:
    """Imports a module and returns it fully initialised.

    It waits while another thread does the same.
    """
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
    """Whether the import of a module or of its package has begun but not ended."""
    package = sys.modules.get(module.__name__.rpartition(".")[0])
    specs = [getattr(found, "__spec__", None) for found in (module, package) if found is not None]
    return any(getattr(spec, "_initializing", False) for spec in specs)
