"""The public names of the packages, from ``__all__``, as directives of mkdocstrings."""

from __future__ import annotations

import importlib
import inspect
import types
from importlib.util import find_spec
from typing import Any

from generators.markdown import code, table
from segkit.registry import Registry

PACKAGES = (
    "segkit",
    "segkit.data",
    "segkit.modeling",
    "segkit.structures",
    "segkit.solver",
    "segkit.engine",
    "segkit.evaluation",
)


def public_names(package: str) -> str:
    """One directive for each class and function; tables of registries and of names that belong to a subpackage."""
    module = importlib.import_module(package)
    directives, registries, elsewhere, constants = [], [], [], []
    for name in module.__all__:
        value = getattr(module, name)
        home = _home(package, name, value)
        if isinstance(value, Registry):
            registries.append((code(name), value.title.replace("_", " ")))
        elif isinstance(value, types.ModuleType) or name.startswith("__"):
            continue
        elif home is not None:
            elsewhere.append((f"[{code(name)}]({home.split('.')[1]}.md#{home}.{name})", _first_line(value)))
        elif inspect.isclass(value) or inspect.isroutine(value):
            directives.append(_directive(package, name, value))
        else:
            constants.append((code(name), code(repr(value)) if len(repr(value)) < 80 else ""))
    parts = [table(("name", "what it is"), elsewhere)] if elsewhere else []
    parts += [table(("registry", "component"), registries)] if registries else []
    parts += [table(("name", "value"), constants)] if constants else []
    return "\n\n".join([*parts, *directives])


def _directive(package: str, name: str, value: Any) -> str:
    """mkdocstrings' line for a name; a config section's annotations are in the config reference already.

    A function that is named like its module is given by its full path: griffe would take the name for the module.
    """
    options = "\n    options: {show_signature_annotations: false}" if value.__module__ == "segkit.config.schema" else ""
    shadowed = find_spec(f"{package}.{name}") is not None
    return f"::: {value.__module__ if shadowed else package}.{name}{options}"


def _home(package: str, name: str, value: Any) -> str | None:
    """The subpackage that also exports a name of ``segkit``; None for any other name."""
    if package != "segkit":
        return None
    for other in PACKAGES[1:]:
        module = importlib.import_module(other)
        if name in module.__all__ and getattr(module, name) is value:
            return other
    return None


def _first_line(value: Any) -> str:
    doc = inspect.getdoc(value)
    return doc.splitlines()[0].replace("``", "`").replace("|", "\\|") if doc else ""
