"""A configuration's ``imports``: modules of the user's, imported so that their components register."""

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

# sys.path is one for all threads: a folder of one import must not be seen by another's.
_one_at_a_time = threading.RLock()


def import_modules(modules: Sequence[tuple[str, str]], folders: Sequence[Path]) -> list[Path]:
    """Import modules, each from the first folder that has it, else from what is installed.

    Args:
        modules: ``(name, origin)``.
        folders: where to look, in this order. A folder that was used stays on ``sys.path``, at its end, so that what
            the module imports later, or in another process, is found too.
    Returns:
        The folders that were used, absolute.
    Raises:
        SegkitError: not found, or failed while being imported, or another module of that name is imported already.
    """
    with _one_at_a_time:
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
        # At the end: a file beside a config must not hide a library's module from everybody else.
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        if folder not in used:
            used.append(folder)
    return used


def _module_file(folder: Path, name: str) -> Path | None:
    """The file of a module below a folder: ``a.b`` is a/b.py, or a/b/__init__.py, or the folder a/b."""
    stem = folder.joinpath(*name.split("."))
    candidates = (stem.with_name(stem.name + ".py"), stem / "__init__.py")
    # Not Path.is_file: a name that is no file name (too long, a null byte) is no module either.
    file = next((c for c in candidates if os.path.isfile(c)), None)
    if file is None and os.path.isdir(stem) and any(stem.glob("*.py")):
        return stem
    return file


def _check_same(name: str, folder: Path, at: str) -> None:
    """A process has one module of a name: using another folder's would run other code than the config means."""
    top = name.split(".")[0]
    known: Any = sys.modules.get(top)
    if known is None:
        return
    places = [known.__file__] if getattr(known, "__file__", None) else list(getattr(known, "__path__", []))
    mine = [os.path.realpath(p) for p in (folder / f"{top}.py", folder / top, folder / top / "__init__.py")]
    if not any(os.path.realpath(place) in mine for place in places):
        there = f"from {places[0]}" if places else "built into Python"
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
    except SegkitError as error:  # as by a name that is registered twice
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
    if isinstance(error, SyntaxError):  # its text says the place
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    return f" (in {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
