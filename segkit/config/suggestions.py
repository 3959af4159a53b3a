"""Suggestions of valid keys for one that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from segkit.config.detectron2_names import DETECTRON2_NAMES
from segkit.config.foreign_names import MMDETECTION_NAMES, foreign_key
from segkit.config.nodes import Node, join
from segkit.registry import Slot, find_slot
from segkit.utils.errors import SegkitError, did_you_mean, nearest


def known_keys(
    root: type, tree: Node, fields_of: Callable[[type], Mapping[str, Any]], section_of: Callable[[Any], type | None]
) -> set[str]:
    """Returns every key path that can be set in ``tree``, arguments of components included."""
    known: set[str] = set()

    def section(cls: type, node: Node | None, path: str) -> None:
        for key, (_, annotation) in fields_of(cls).items():
            here, child = join(path, key), _child(node, key)
            known.add(here)
            inner = section_of(annotation)
            if inner is not None:
                section(inner, child, here)
            known.update(_component_keys(annotation, child, here))

    section(root, tree, "")
    return known


def suggest_key(path: str, known: Iterable[str], siblings: Iterable[str]) -> str:
    """Returns the end of the message about the unknown key ``path``.

    Args:
        known: all valid key paths.
        siblings: the valid key paths in the section of ``path``.
    """
    known, siblings = sorted(known), sorted(siblings)
    if path in known:  # written with its dots, where sections are meant
        *sections, last = path.split(".")
        inside = "".join(f"{section}: {{" for section in sections)
        return f"; keys with dots are for overrides, here write {inside}{last}: ...{'}' * len(sections)}"
    leaf = path.rpartition(".")[2]
    renamed = DETECTRON2_NAMES.get(path.upper()) if path.split(".")[0].isupper() else None
    if renamed is not None:
        return renamed if renamed.startswith(";") else f"; did you mean '{renamed}'?"
    foreign = suggest_foreign_key(path, known)
    if foreign is not None:
        return foreign
    same_leaf = [key for key in known if key.rpartition(".")[2].lower() == leaf.lower()]
    same_leaf = nearest(path, same_leaf, count=1) or same_leaf
    parent = path.rpartition(".")[0]
    names = [key.rpartition(".")[2] for key in siblings if key.rpartition(".")[0] == parent]
    beside = [f"{parent}.{name}" if parent else name for name in nearest(leaf, names)]
    if not same_leaf and leaf.isupper():
        same_leaf = [new for old, new in DETECTRON2_NAMES.items() if old.rpartition(".")[2] == leaf and new[0] != ";"]
    for near in (same_leaf, beside, nearest(path, known)):
        if near:
            return "; did you mean " + " or ".join(f"'{key}'" for key in near[:3]) + "?"
    leaves: dict[str, str] = {}
    for key in known:
        leaves.setdefault(key.rpartition(".")[2], key)
    near = nearest(leaf, leaves)
    if near:
        return f"; did you mean '{leaves[near[0]]}'?"
    return did_you_mean(path, siblings)


def suggest_foreign_key(path: str, known: Iterable[str]) -> str | None:
    """The end of the message about a key of MMDetection or torchvision; None for other keys.

    Suggests only keys that can be set in the current configuration (``known``). A key inside of a section whose last
    word is a key here too, as ``min_size``, is more likely a key in the wrong section than an argument of torchvision.
    """
    known, leaf = set(known), path.rpartition(".")[2]
    found = foreign_key(path)
    if found is None or found == path:
        return None
    if path not in MMDETECTION_NAMES and "." in path and any(key.endswith(f".{leaf}") for key in known):
        return None
    if found.startswith(";"):
        return found
    return f"; did you mean '{found}'?" if found in known else None


def _child(node: Node | None, key: object) -> Node | None:
    return node.value.get(key) if node is not None and isinstance(node.value, dict) else None


def _component_keys(annotation: Any, node: Node | None, path: str) -> Iterator[str]:
    slot = find_slot(annotation)
    if slot is None:
        return
    if not isinstance(slot, Slot):
        for i, child in enumerate(node.value if node is not None and isinstance(node.value, list) else ()):
            yield from _component_keys(Slot(slot.registry), child, join(path, i))
        return
    yield join(path, slot.registry.key)
    name = _child(node, slot.registry.key)
    try:
        schema = slot.registry.signature(name.value) if name is not None and isinstance(name.value, str) else None
    except SegkitError:  # an unknown component is an error of its own
        return
    for key in schema.options if schema is not None else ():
        yield join(path, key)
        assert schema is not None
        yield from _component_keys(schema.annotations.get(key), _child(node, key), join(path, key))
