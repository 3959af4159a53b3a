"""A configuration's ``imports``: user modules that register components."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.config.nodes import where
from segkit.utils.errors import SegkitError

# All threads share sys.path: the folder of one import must not be visible to another's.
_import_lock = threading.RLock()


def import_modules(modules: Sequence[tuple[str, str]], folders: Sequence[Path]) -> list[Path]:
    """Imports modules, each from the first folder that has it, else an installed one.

    Args:
        modules: ``(name, origin)``.
        folders: where to look, in this order. A folder that was used stays at the end of ``sys.path``, so that modules
            that the module imports later, or in another process, are found too.
    Returns:
        The folders that were used, absolute.
    Raises:
        SegkitError: a module is not found, its import fails, or another module of its name is imported already.
    """
    with _import_lock:
        return _import_modules(modules, folders)


def _import_modules(modules: Sequence[tuple[str, str]], folders: Sequence[Path]) -> list[Path]:
    used: list[Path] = []
    for index, (name, origin) in enumerate(modules):
        at = where(f"imports.{index}", origin)
        folder = next((f for f in folders if _module_file(f, name) is not None), None)
        if folder is None:
            _import(name, at, folders)
            continue
        folder = Path(os.path.realpath(folder))
        _check_same(name, folder, at)
        sys.path.insert(0, str(folder))
        try:
            _import(name, at, folders)
        finally:
            sys.path.remove(str(folder))
        # At the end: a file beside a config must not hide a library's module from other imports.
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        if folder not in used:
            used.append(folder)
    return used


def _module_file(folder: Path, name: str) -> Path | None:
    """The file of module ``a.b`` below a folder: a/b.py, a/b/__init__.py, or the folder a/b."""
    stem = folder.joinpath(*name.split("."))
    candidates = (stem.with_name(stem.name + ".py"), stem / "__init__.py")
    # Path.is_file would raise for an impossible file name (too long, a null byte), which is no module either.
    file = next((c for c in candidates if os.path.isfile(c)), None)
    if file is None and os.path.isdir(stem) and any(stem.glob("*.py")):
        return stem
    return file


def _check_same(name: str, folder: Path, at: str) -> None:
    """Raises if a module of that name is imported from elsewhere already."""
    top = name.split(".")[0]
    known: Any = sys.modules.get(top)
    if known is None:
        return
    files = [known.__file__] if getattr(known, "__file__", None) else list(getattr(known, "__path__", []))
    expected = [os.path.realpath(p) for p in (folder / f"{top}.py", folder / top, folder / top / "__init__.py")]
    if not any(os.path.realpath(file) in expected for file in files):
        there = f"from {files[0]}" if files else "built into Python"
        raise SegkitError(
            f"{at}: '{name}' is found in {folder}, but a module '{top}' is imported already, {there}; "
            f"rename one of the two",
            key="imports",
            value=name,
        )


def _import(name: str, at: str, folders: Sequence[Path]) -> None:
    importlib.invalidate_caches()  # the file may have been written a moment ago
    try:
        importlib.import_module(name)
    except SegkitError as error:  # as from registering a name twice
        raise SegkitError(f"{at}: importing '{name}': {error}", key="imports", value=name) from error
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name and (name + ".").startswith(error.name + ".")
        if missing:
            looked = ", ".join(str(folder) for folder in folders)
            text = f"there is no module '{name}' in {looked}, nor is one installed"
        else:
            text = f"importing '{name}' failed: {type(error).__name__}: {error}{_last_line(error)}"
        raise SegkitError(f"{at}: {text}", key="imports", value=name) from error


def _last_line(error: Exception) -> str:
    if isinstance(error, SyntaxError):  # its text has file and line
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    return f" (in {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
