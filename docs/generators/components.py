"""The component reference: what is registered, with arguments, types, defaults and docstrings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from generators.markdown import arguments, cell, code, description, table
from segkit.config.describe import inline
from segkit.config.typecheck import accepts_none, type_text
from segkit.registry import ALL_REGISTRIES, Registry, SlotList, find_slot

_HEADINGS = {
    "meta arch": "Whole models",
    "rpn head": "RPN heads",
    "roi heads": "RoI heads",
    "roi box head": "Box heads",
    "roi mask head": "Mask heads",
    "dataset format": "Data set formats",
    "dataset writer": "Data set writers",
    "intensity": "Intensity rules",
}
_PAGES = {"segkit.modeling": "model", "segkit.data": "data"}


def page_of(registry: Registry) -> str:
    """The page of a registry: ``model``, ``data`` or ``training``, by the home of its components."""
    homes = {source_of(component).rsplit(".", 1)[0] for _, component in registry}
    return next((page for home, page in _PAGES.items() if all(h.startswith(home) for h in homes)), "training")


def components(page: str) -> str:
    """A heading for each registry of a page and for each of its components, with a table of arguments."""
    return "\n\n".join(text for registry in ALL_REGISTRIES if page_of(registry) == page for text in _registry(registry))


def _registry(registry: Registry) -> Iterator[str]:
    name = registry.title.replace(" ", "_").upper()
    yield f"## {_HEADINGS.get(registry.title, registry.title.capitalize() + 's')} {{#{name.lower()}}}"
    yield f"`segkit.{name}_REGISTRY`; in a config file: `{{{registry.key}: NAME, argument: value}}`."
    for component in registry.names():
        yield from _component(registry, component)


def _component(registry: Registry, name: str) -> Iterator[str]:
    component, schema = registry.get(name), registry.signature(name)
    yield f"### {name}"
    yield description(component)
    texts = {}
    for cls in reversed(inspect.getmro(component)) if inspect.isclass(component) else (component,):
        texts.update(arguments(cls) if cls.__module__.startswith("segkit") else {})
    rows = [
        (code(key), _type(schema.annotations.get(key, Any)), code(_default(parameter)), cell(texts.get(key, "")))
        for key, parameter in schema.options.items()
    ]
    if schema.extra_options:
        rows.append((code("**kwargs"), "anything", "", "handed on"))
    yield table(("argument", "type", "default", "meaning"), rows) if rows else "It takes no arguments."
    yield f"Source: `{source_of(component)}`"


def source_of(component: Any) -> str:
    """Module and name of a component, also of a class with arguments given."""
    while isinstance(component, functools.partial):
        component = component.func
    return f"{component.__module__}.{component.__qualname__}"


def _type(annotation: Any) -> str:
    slot = find_slot(annotation)
    if slot is None:
        return cell(type_text(annotation))
    title = slot.registry.title
    text = f"a list of specs ({title})" if isinstance(slot, SlotList) else f"a spec ({title})"
    return f"{text} or null" if accepts_none(annotation) else text


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "(required)"
    try:
        return inline(parameter.default)
    except Exception:  # not a plain value, as a class: PyYAML cannot represent it
        return repr(parameter.default)
