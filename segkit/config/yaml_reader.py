"""YAML to Nodes: every value with its line, no duplicate keys, nothing executed.

PyYAML scans, composes, resolves aliases and converts scalars. What it lacks is here:

- The line of each value, which PyYAML's constructed dicts do not have and error messages name.
- Scalars of YAML 1.2's core schema, with ``1_000_000`` allowed. PyYAML reads YAML 1.1, where ``1e-4`` is text, ``no`` is
  false, ``12:30`` is 750, ``010`` is 8 and ``2024-01-01`` is a date.
- An error for a key that is given twice, and for aliases of aliases that expand to gigabytes.
- Merging ("<<"): of several mappings the first wins in PyYAML 6.0.2 and the last in 6.0.4.

ruamel.yaml has lines and YAML 1.2, but neither of the last two limits, and a tree of types of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, ClassVar

import yaml

from segkit.config.nodes import Node
from segkit.utils.errors import SegkitError

TAG = "tag:yaml.org,2002:"
NAMES = {"null": "null", "bool": "true or false", "int": "an integer", "float": "a number", "str": "text"}
MAX_VALUES = 100_000  # of a document after its aliases are expanded
FLOAT = re.compile(
    r"^[-+]?((\d[\d_]*)?\.\d[\d_]*([eE][-+]?\d+)?|\d[\d_]*\.([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"
)
# Tag, pattern and first characters of the unquoted scalars that are not text.
RESOLVERS = (
    ("bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("int", re.compile(r"^[-+]?(0|[1-9][\d_]*|0x[\da-fA-F_]+)$"), "-+0123456789"),
    ("float", FLOAT, "-+0123456789."),
    ("merge", re.compile(r"^<<$"), "<"),
)


class Reader(yaml.SafeLoader):
    """PyYAML's loader with Nodes inside collections, and scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]

    def __init__(self, text: str, source: str, lines: bool) -> None:
        super().__init__(text)
        self.source, self.lines = source, lines
        self._entries = 0
        self._sizes: dict[int, int] = {}  # number of values in a collection, by its id

    def at(self, node: yaml.Node) -> str:
        """The origin of a value whose key, or whose own text, is ``node``."""
        return f"{self.source}:{node.start_mark.line + 1}" if self.lines else self.source

    def construct(self, node: yaml.Node) -> Any:
        """Returns a scalar, or a list or dict of Nodes, which all aliases of a node share."""
        kind = node.tag.removeprefix(TAG)
        if isinstance(node, yaml.ScalarNode) and kind == "merge":
            return node.value
        if isinstance(node, yaml.ScalarNode) and kind in NAMES:
            try:
                return getattr(self, f"construct_yaml_{kind}")(node)
            except (ValueError, KeyError, IndexError) as error:  # what PyYAML raises depends on the tag
                raise SegkitError(f"{self.at(node)}: not YAML: '{node.value:.60}' is not {NAMES[kind]}") from error
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            items = [Node(self.construct_object(item), self.at(item)) for item in node.value]
            self._check_size(items, items, node)
            return items
        if isinstance(node, yaml.MappingNode) and kind == "map":
            mapping = self._mapping(node)
            self._check_size(mapping, mapping.values(), node)
            return mapping
        raise SegkitError(f"{self.at(node)}: the YAML tag '{node.tag}' is not allowed in a config")

    def _mapping(self, node: yaml.MappingNode) -> dict[Any, Node]:
        """The mapping's own keys over those of "<<", of which the first wins."""
        own: dict[Any, Node] = {}
        merged: dict[Any, Node] = {}
        lines: dict[Any, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == TAG + "merge":
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    if not isinstance(source, yaml.MappingNode):
                        raise SegkitError(f"{self.at(key_node)}: '<<' takes a mapping, or a list of mappings")
                    merged = {**self.construct_object(source), **merged}
                continue
            key, line = self._key(key_node), key_node.start_mark.line + 1
            if key in lines:
                text = f"{self.at(key_node)}: the key '{key}' is given twice, first in line {lines[key]}"
                raise SegkitError(text, key=str(key))
            lines[key] = line
            # A value has the line of its key, for a nested mapping starts on a later line.
            own[key] = Node(self.construct_object(value_node), self.at(key_node))
        return {**merged, **own}

    def _key(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise SegkitError(f"{self.at(node)}: a key must be a word or a number")
        value = self.construct_object(node)
        return value if isinstance(value, (int, str)) and not isinstance(value, bool) else node.value

    def _check_size(self, collection: Any, children: Collection[Node], node: yaml.Node) -> None:
        """Raises if too many entries were made, or if the collection expands to too many values."""
        self._entries += len(children)
        self._sizes[id(collection)] = size = 1 + sum(self._sizes.get(id(child.value), 1) for child in children)
        if max(self._entries, size) > MAX_VALUES:
            raise SegkitError(f"{self.at(node)}: more than {MAX_VALUES} values; do aliases multiply each other?")


class Writer(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or :class:`Reader` would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # a list that occurs twice is written twice


for _kind, _pattern, _first in RESOLVERS:
    Reader.add_implicit_resolver(TAG + _kind, _pattern, list(_first))
Reader.yaml_constructors = {None: Reader.construct}
Writer.add_implicit_resolver(TAG + "float", FLOAT, list("-+0123456789."))


def read_yaml(text: str, source: str, *, lines: bool = True) -> Node:
    """Parses one YAML document.

    Args:
        text: the document.
        source: the file's name, or ``command line``, for origins and messages.
        lines: whether origins have the line, as ``source:12``.
    Raises:
        SegkitError: not YAML, a duplicate key, a tag of another type than plain values, or too many values.
    """
    reader = None
    try:
        reader = Reader(text, source, lines)
        node = reader.get_single_node()
        return Node(None, source) if node is None else Node(reader.construct_document(node), reader.at(node))
    except yaml.constructor.ConstructorError as error:  # the only remaining kind, since tags are checked above
        raise SegkitError(f"{_place(error, source, lines)}: an alias that contains itself", value=text) from error
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context
        raise SegkitError(f"{_place(error, source, lines)}: not YAML: {problem}", value=text) from error
    except RecursionError as error:
        raise SegkitError(f"{source}: lists or mappings are nested too deep", value=text) from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, SegkitError):
            raise
        raise SegkitError(f"{source}: not YAML: {' '.join(str(error).split())}", value=text) from error
    finally:
        if reader is not None:
            reader.dispose()


def _place(error: yaml.MarkedYAMLError, source: str, lines: bool) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{source}:{mark.line + 1}" if mark and lines else source


def write_yaml(value: Any, *, one_line: bool = False) -> str:
    """Writes plain values as YAML that :func:`read_yaml` reads back equal."""
    if one_line:
        return yaml.dump(value, Dumper=Writer, sort_keys=False, default_flow_style=True, width=1e9, allow_unicode=True)
    return yaml.dump(value, Dumper=Writer, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
