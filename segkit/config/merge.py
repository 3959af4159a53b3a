"""Merging of configurations: defaults, base files, the file, the command line.

OmegaConf merges mappings too, but its values do not know their file and line, which error messages name, and a spec with
another ``name`` would inherit the old component's arguments.
"""

from __future__ import annotations

from segkit.config.bare_paths import dropped_validation, expand
from segkit.config.nodes import Node, join, where
from segkit.utils.errors import SegkitError

# The parts of the schema that merging depends on.
SECTIONS = ("data", "solver", "train", "predict")
ALTERNATIVES = {"train": ("epochs", "iterations")}
ACCUMULATED = ("imports", "imports_from")


def spec_key(path: str) -> str:
    """The key that names the component of the spec at ``path``."""
    return "format" if path.split(".")[:2] in (["data", "train"], ["data", "val"]) else "name"


def merge(base: Node, overlay: Node, path: str = "") -> Node:
    """Merges ``overlay`` over ``base``: mappings key by key; scalars and lists are replaced.

    A spec with another name (or format) does not inherit the old component's arguments. A section without content (all
    its lines commented out) changes nothing. ``imports`` are added to those of the base, whose components are needed too.
    """
    if path in SECTIONS and overlay.value is None:
        return base
    if path in ACCUMULATED and isinstance(base.value, list) and isinstance(overlay.value, list):
        known = [child.value for child in base.value]
        return Node(base.value + [child for child in overlay.value if child.value not in known], overlay.origin)
    base = expand(base, path)
    if not isinstance(base.value, dict) or not isinstance(overlay.value, dict) or _other_component(base, overlay, path):
        return overlay
    children = dict(base.value)
    children.update(overruled(overlay, path) | dropped_validation(overlay.value, path, base.value))
    for key, child in overlay.items():
        children[key] = merge(children[key], child, join(path, key)) if key in children else child
    return Node(children, overlay.origin)


def overruled(layer: Node, path: str) -> dict[str, Node]:
    """The keys of a section that a layer sets to null by setting their alternative.

    Raises:
        SegkitError: the layer sets both.
    """
    given = [k for k in ALTERNATIVES.get(path, ()) if k in layer.value and layer.value[k].value is not None]
    if len(given) > 1:
        first, second = given
        raise SegkitError(
            f"{where(join(path, second), layer.value[second].origin)}: {join(path, first)} "
            f"({layer.value[first].origin}) is its alternative: set one of the two",
            key=join(path, second),
        )
    if not given:
        return {}
    return {key: Node(None, layer.value[given[0]].origin) for key in ALTERNATIVES[path] if key != given[0]}


def _other_component(base: Node, overlay: Node, path: str) -> bool:
    key = spec_key(path)
    if key in overlay.value:
        return key not in base.value or base.value[key].value != overlay.value[key].value
    # Only this key distinguishes a split of the training set from a data set.
    return path == "data.val" and "from_train" in overlay.value and "from_train" not in base.value
