"""Layers of configuration, one over the other: defaults, base files, the file, the command line."""

from __future__ import annotations

from segkit.config.nodes import Node, join, where
from segkit.utils.errors import SegkitError

# What merging has to know of the schema.
SECTIONS = ("data", "solver", "train", "predict")
ALTERNATIVES = {"train": ("epochs", "iterations")}
ACCUMULATED = ("imports", "imports_from")


def spec_key(path: str) -> str:
    """The key that says which component the spec at ``path`` is."""
    return "format" if path.split(".")[:2] in (["data", "train"], ["data", "val"]) else "name"


def merge(base: Node, overlay: Node, path: str = "") -> Node:
    """``overlay`` over ``base``: mappings key by key, anything else replaced, lists as a whole.

    A spec with another name (or format) does not inherit the old component's arguments. A section without anything in
    it (all its lines commented out) changes nothing. ``imports`` add up: a base file's components stay needed.
    """
    if path in SECTIONS and overlay.value is None:
        return base
    if path in ACCUMULATED and isinstance(base.value, list) and isinstance(overlay.value, list):
        known = [child.value for child in base.value]
        return Node(base.value + [child for child in overlay.value if child.value not in known], overlay.origin)
    if not isinstance(base.value, dict) or not isinstance(overlay.value, dict) or _other_component(base, overlay, path):
        return overlay
    children = dict(base.value)
    children.update(overruled(overlay, path))
    for key, child in overlay.items():
        children[key] = merge(children[key], child, join(path, key)) if key in children else child
    return Node(children, overlay.origin)


def overruled(layer: Node, path: str) -> dict[str, Node]:
    """The keys that a layer of the section at ``path`` sets to null by giving their alternative.

    Raises:
        SegkitError: the layer gives both.
    """
    given = [k for k in ALTERNATIVES.get(path, ()) if k in layer.value and layer.value[k].value is not None]
    if len(given) > 1:
        first, second = given
        raise SegkitError(
            f"{where(join(path, second), layer.value[second].origin)}: {join(path, first)} "
            f"({layer.value[first].origin}) is its alternative: give one of the two",
            key=join(path, second),
        )
    if not given:
        return {}
    return {key: Node(None, layer.value[given[0]].origin) for key in ALTERNATIVES[path] if key != given[0]}


def _other_component(base: Node, overlay: Node, path: str) -> bool:
    key = spec_key(path)
    if key in overlay.value:
        return key not in base.value or base.value[key].value != overlay.value[key].value
    # A split of the training set is told from a data set by this key alone.
    return path == "data.val" and "from_train" in overlay.value and "from_train" not in base.value
