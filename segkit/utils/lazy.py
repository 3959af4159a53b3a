"""Imports at first use, safe if several threads import at once.

``importlib.util.LazyLoader`` delays whole modules, not the names that a package exports. ``import segkit`` would import
torch and torchvision without delay otherwise, which takes seconds.

Two private names of importlib are read, each with a default: ``_DeadlockError``, by the name of its class, and
``ModuleSpec._initializing``. tests/registry/test_threads.py imports from many threads in new processes.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

# Python locks a module before its package. A thread that imports a package and one that imports a module in it wait for
# each other, and one of them gets an error: one lock for all lazy imports prevents that.
_lock = threading.RLock()
TRIES = 20  # an import statement in another thread does not take the lock, and can still cause that error


def lazy_exports(
    package: str, homes: Mapping[str, str], subpackages: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports public names at first use.

    The package lists the same names in ``__all__`` and imports them under ``if TYPE_CHECKING``, for readers, type checkers
    and editors; ``tests/test_public_api.py`` compares the three.

    Args:
        package: its ``__name__``.
        homes: for each module the names that it defines, with spaces between them.
        subpackages: likewise; they are attributes of the package without an import of their own.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}
    home_of |= dict.fromkeys(subpackages.split(), "")

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home = home_of[name]
        value = getattr(import_once(home), name) if home else import_once(f"{package}.{name}")
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return get, listed


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
