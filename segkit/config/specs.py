"""Checks a tree of Nodes against schema and signatures, and fills in every default."""

from __future__ import annotations

import dataclasses
import inspect
import os
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from segkit.config.bare_paths import is_bare, spec_of_path
from segkit.config.merge import merge
from segkit.config.nodes import DEFAULT, Node, join, where
from segkit.config.spec import Spec, is_plain, to_plain
from segkit.config.suggestions import known_keys, suggest_foreign_key, suggest_key
from segkit.config.typecheck import accepts_none, coerce, show
from segkit.registry import DATASET_FORMAT_REGISTRY, Registry, Signature, Slot, SlotList, find_slot, unknown_argument
from segkit.utils.components.construction import missing_name
from segkit.utils.errors import SegkitError
from segkit.utils.renamed_arguments import new_name

Section = TypeVar("Section")


def section_fields(section: type[Any]) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """Returns the keys of a section of the schema: ``{key: (field, annotation)}``."""
    annotations = typing.get_type_hints(section, include_extras=True)
    return {f.name: (f, annotations[f.name]) for f in dataclasses.fields(section) if f.metadata.get("key", True)}


def section_of(annotation: Any) -> type | None:
    """Returns the section class inside an annotation; None if there is none."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type) and not hasattr(annotation, "from_plain"):
        return annotation
    return next((s for inner in typing.get_args(annotation) if (s := section_of(inner)) is not None), None)


def defaults(section: type) -> Node:
    """Returns the schema's defaults as the bottom layer; keys without a default are absent."""
    children = {}
    for name, (field, annotation) in section_fields(section).items():
        inner = section_of(annotation)
        if field.default is not dataclasses.MISSING:
            value: Any = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        elif inner is None:
            continue
        else:
            value = inner  # a required section has defaults inside nevertheless
        is_section = inner is not None and (value is inner or isinstance(value, inner))
        children[name] = defaults(inner) if inner is not None and is_section else Node.of(to_plain(value), DEFAULT)
    return Node(children, DEFAULT)


class Resolver:
    """Turns a tree of Nodes into the typed configuration.

    Args:
        root: the whole schema, for suggestions.
        tree: the whole tree.
    Attributes:
        origins: the origin of each resolved value, by key path.
    """

    def __init__(self, root: type, tree: Node) -> None:
        self.root, self.tree = root, tree
        self.origins: dict[str, str] = {}

    def section(self, section: type[Section], node: Node, path: str = "") -> Section:
        """Resolves a section of the schema; absent keys have their defaults."""
        fields = section_fields(section)
        if not isinstance(node.value, dict):
            raise SegkitError(
                f"{where(path, node.origin)}: expected a mapping of keys, given {show(node.plain())}", key=path
            )
        for key, child in node.items():
            if key not in fields:
                self._unknown_key(join(path, key), child, path, fields)
        given = defaults(section).value
        values: dict[str, Any] = {}
        for key, (_, annotation) in fields.items():
            here = join(path, key)
            found: Node | None = node.value.get(key, given.get(key))
            if found is None:
                raise SegkitError(f"{where(here, node.origin)}: is missing and required", key=here)
            values[key] = self.value(annotation, found, here)
        return section(**values)

    def value(self, annotation: Any, node: Node, path: str) -> Any:
        """Resolves a section, a component, a list of components, or a plain value."""
        if node.value is None and accepts_none(annotation):
            self.origins[path] = node.origin
            return None
        slot, section = find_slot(annotation), section_of(annotation)
        if isinstance(slot, SlotList):
            return self._components(slot.registry, node, path)
        if slot is not None and (
            section is None or not isinstance(node.value, dict) or slot.registry.key in node.value
        ):
            return self.spec(slot.registry, node, path)
        if section is not None:
            return self.section(section, node, path)
        value = coerce(node.plain(), annotation, path, node.origin)
        self.origins[path] = node.origin
        return value

    def spec(self, registry: Registry, node: Node, path: str) -> Spec:
        """Checks a component's name and its arguments, and fills in their defaults."""
        if registry is DATASET_FORMAT_REGISTRY and is_bare(node) and _is_path(node.value):
            node = spec_of_path(node)
        if not isinstance(node.value, dict):
            hint = f" such as {{{registry.key}: {node.value}}}" if isinstance(node.value, str) else ""
            raise SegkitError(
                f"{where(path, node.origin)}: expected a {registry.title}{hint}, given {show(node.plain())}", key=path
            )
        name_node = node.value.get(registry.key)
        if name_node is None or not isinstance(name_node.value, str):
            text = f"'{registry.key}' is {show(name_node.plain())}; expected a text" if name_node is not None else ""
            raise SegkitError(
                f"{where(path, node.origin)}: {text or missing_name(node.value, registry.key, registry.title)}",
                key=path,
            )
        name, name_path = name_node.value, join(path, registry.key)
        try:
            schema = registry.signature(name)
        except SegkitError as error:
            raise SegkitError(
                f"{where(name_path, name_node.origin)}: {error}", key=name_path, value=name, choices=error.choices
            ) from None
        self.origins[name_path] = name_node.origin
        return Spec({registry.key: name, **self._arguments(name, schema, registry, node, path)})

    def _arguments(self, name: str, schema: Signature, registry: Registry, node: Node, path: str) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for key, child in node.items():
            if key in (registry.key, registry.label) or key in schema.options:
                continue
            if not schema.extra_options or key in schema.runtime or new_name(str(key), schema.options):
                here = join(path, key)
                text = unknown_argument(name, str(key), schema, where(here, child.origin))
                hint = suggest_foreign_key(here, known_keys(self.root, self.tree, section_fields, section_of))
                if hint is not None and key not in schema.runtime:
                    text = f"{where(here, child.origin)}: {name} has no argument '{key}'{hint}"
                raise SegkitError(text, key=here, value=child.plain(), choices=schema.options)
            arguments[str(key)] = self.value(Any, child, join(path, key))  # for **kwargs
        if registry.label is not None and registry.label in node.value:
            here, child = join(path, registry.label), node.value[registry.label]
            arguments[registry.label] = coerce(child.plain(), str, here, child.origin)
            self.origins[here] = child.origin
        for key, parameter in schema.options.items():
            if key == registry.key:
                continue  # it names the component
            here, child = join(path, key), node.value.get(key)
            annotation = schema.annotations.get(key, Any)
            has_default = parameter.default is not inspect.Parameter.empty
            if child is None and (key in schema.inherited or key in schema.undecided):
                continue
            if child is None and not has_default:
                raise SegkitError(f"{where(path, node.origin)}: {name} needs the argument '{key}'", key=here)
            if isinstance(slot := schema.slots.get(key), Slot) and isinstance(parameter.default, Mapping):
                default = Node.of(to_plain(parameter.default), DEFAULT)
                if child is None:
                    child = default
                elif isinstance(child.value, dict) and slot.registry.key not in child.value:
                    child = merge(default, child, here)  # `neck.out_channels=64` without a name means the default neck
            if child is not None:
                # A saved configuration has the default written out, even if its annotation refuses it.
                same = has_default and repr(child.plain()) == repr(to_plain(parameter.default))
                arguments[key] = (self._default if same else self.value)(annotation, child, here)
            elif is_plain(parameter.default):  # other defaults stay in the constructor: YAML cannot hold them
                default = Node.of(to_plain(parameter.default), DEFAULT)
                arguments[key] = self._default(annotation, default, here)
                self.origins.setdefault(here, DEFAULT)
        return arguments

    def _default(self, annotation: Any, default: Node, path: str) -> Any:
        """Resolves a parameter's default; unchanged if its own annotation refuses it."""
        try:
            if default.value is not None:
                return self.value(annotation, default, path)
        except SegkitError:
            if find_slot(annotation) is not None:
                raise
        self.origins[path] = default.origin
        return default.plain()

    def _components(self, registry: Registry, node: Node, path: str) -> tuple[Spec, ...]:
        if not isinstance(node.value, list):
            expected = f"a list of specs [{{{registry.key}: ...}}]"
            raise SegkitError(f"{where(path, node.origin)}: expected {expected}, given {show(node.plain())}", key=path)
        if not node.value:
            self.origins[path] = node.origin
        return tuple(self.spec(registry, child, join(path, i)) for i, child in enumerate(node.value))

    def _unknown_key(self, path: str, node: Node, parent: str, fields: Mapping[str, Any]) -> None:
        # `tran.epochs=3` is about tran.epochs, and Detectron2's `SOLVER: {BASE_LR: 1, ...}` about SOLVER.BASE_LR.
        while isinstance(node.value, dict) and (len(node.value) == 1 or (node.value and path.isupper())):
            key, node = next(node.items())
            path = join(path, key)
        siblings = [join(parent, key) for key in fields]
        if (new := new_name(path.rpartition(".")[2], fields)) is not None:
            hint = f"; it is called '{join(parent, new)}' now"
        else:
            hint = suggest_key(path, known_keys(self.root, self.tree, section_fields, section_of), siblings)
        raise SegkitError(
            f"{where(path, node.origin)}: there is no such key{hint}", key=path, value=node.plain(), choices=fields
        )


def _is_path(text: str) -> bool:
    """Whether a text in place of a data set's spec is a path, and not the name of a format."""
    return text not in DATASET_FORMAT_REGISTRY or os.path.exists(text)
