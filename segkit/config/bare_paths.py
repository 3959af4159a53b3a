"""A path in place of a data set's spec.

``data.train: my_data`` is ``data.train: {format: auto, path: my_data}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segkit.config.nodes import DEFAULT, Node

SLOTS = ("data.train", "data.val")


def is_bare(node: Node | None) -> bool:
    """Whether a value is a path in place of a spec."""
    return node is not None and isinstance(node.value, str)


def expand(node: Node, path: str) -> Node:
    """The spec of a path at ``data.train`` or ``data.val``; other values as they are."""
    return spec_of_path(node) if path in SLOTS and is_bare(node) else node


def spec_of_path(node: Node) -> Node:
    """The spec ``{format: auto, path: ...}`` of a path; its keys have the path's origin."""
    return Node({"format": Node("auto", node.origin), "path": node}, node.origin)


def dropped_validation(layer: Mapping[Any, Node], path: str, below: Mapping[Any, Node]) -> dict[str, Node]:
    """``val`` as unset, if a layer sets ``data.train`` to a path and not ``data.val``.

    A path names a data set with all its splits, so the validation data that lower layers set for other training data do
    not belong to it. ``{from_train: 0.1}`` belongs to any training data, and stays.

    Args:
        layer: the values of the section in the layer.
        path: of the section.
        below: the section's values in the layers below.
    """
    if path != "data" or not is_bare(layer.get("train")) or "val" in layer:
        return {}
    val = below.get("val")
    from_train = val is not None and isinstance(val.value, dict) and "from_train" in val.value
    return {} if from_train else {"val": Node(None, DEFAULT)}
