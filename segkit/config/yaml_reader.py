"""YAML to Nodes: every value with its line, no duplicate keys, nothing executed.

YAML 1.1, as PyYAML reads it, has surprises that a configuration does better without: ``1e-4`` is text, ``no`` is false,
``12:30`` is 750, ``010`` is 8, ``2024-01-01`` is a date. Here scalars are read as YAML 1.2's core schema has them, with
``1_000_000`` allowed.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from segkit.config.nodes import Node
from segkit.utils.errors import SegkitError

MERGE = "tag:yaml.org,2002:merge"
MAX_VALUES = 100_000  # aliases of aliases grow exponentially when they are expanded
FLOAT = re.compile(
    r"^[-+]?((\d[\d_]*)?\.\d[\d_]*([eE][-+]?\d+)?|\d[\d_]*\.([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"
)
RESOLVERS = (
    ("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][\d_]*|0x[\da-fA-F_]+)$"), "-+0123456789"),
    ("tag:yaml.org,2002:float", FLOAT, "-+0123456789."),
    (MERGE, re.compile(r"^<<$"), "<"),
)


class Reader(yaml.SafeLoader):
    """Composes nodes; constructs scalars only."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]


class Writer(yaml.SafeDumper):
    """Quotes whatever either YAML 1.1 or :class:`Reader` would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # the same list at two places is written twice


for _tag, _pattern, _first in RESOLVERS:
    Reader.add_implicit_resolver(_tag, _pattern, list(_first))
Writer.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def read_yaml(text: str, source: str, *, lines: bool = True) -> Node:
    """Parse one YAML document.

    Args:
        text: the document.
        source: the file's name, or ``command line``, for origins and messages.
        lines: whether origins say the line, as ``source:12``.
    Raises:
        SegkitError: not YAML, a duplicate key, a tag that is no plain value.
    """
    reader = None
    try:
        reader = Reader(text)
        node = reader.get_single_node()
        return _Converter(reader, source, lines).convert(node, 0) if node is not None else Node(None, source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{source}:{mark.line + 1}" if mark and lines else source
        raise SegkitError(f"{at}: not YAML: {error.problem or error.context}", value=text) from error
    except RecursionError as error:
        raise SegkitError(f"{source}: lists or mappings are nested too deep", value=text) from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, SegkitError):
            raise
        raise SegkitError(f"{source}: not YAML: {' '.join(str(error).split())}", value=text) from error
    finally:
        if reader is not None:
            reader.dispose()


def write_yaml(value: Any, *, one_line: bool = False) -> str:
    """Plain values as YAML text which :func:`read_yaml` reads back equal; lists of plain values stay on one line."""
    if one_line:
        return yaml.dump(value, Dumper=Writer, sort_keys=False, default_flow_style=True, width=1e9, allow_unicode=True)
    return yaml.dump(value, Dumper=Writer, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


class _Converter:
    def __init__(self, reader: Reader, source: str, lines: bool) -> None:
        self.reader, self.source, self.lines = reader, source, lines
        self.count = 0
        self.open: set[int] = set()  # the collections being converted: an alias to one of them is a loop

    def convert(self, node: yaml.Node, line: int) -> Node:
        origin = self.at(line)
        self.count += 1
        self.check_count(self.count, line)
        if isinstance(node, yaml.ScalarNode):
            return Node(self.scalar(node), origin)
        if id(node) in self.open:
            raise SegkitError(f"{self.at(node.start_mark.line)}: an alias that contains itself")
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self.refuse_tag(node)
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            value: Any = self.mapping(node)
        else:
            assert isinstance(node, yaml.SequenceNode)
            value = [self.convert(child, child.start_mark.line) for child in node.value]
        self.open.remove(id(node))
        return Node(value, origin)

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Node]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            key, line = self.key(key_node), key_node.start_mark.line
            if key in lines and key != "<<":
                raise SegkitError(
                    f"{self.at(line)}: the key '{key}' is given twice, first in line {lines[key] + 1}", key=str(key)
                )
            lines[key] = line
        # The line of a value is the line of its key: a nested mapping starts a line later, where nobody looks for it.
        return {self.key(k): self.convert(child, k.start_mark.line) for k, child in self.entries(node, set())}

    def entries(self, node: yaml.MappingNode, within: set[int]) -> list[tuple[yaml.Node, yaml.Node]]:
        """The keys and values of a mapping, those of "<<" first, so that the mapping's own win; of several the first wins.

        PyYAML's own way with them takes time and memory without limit where merged mappings merge others twice.
        """
        self.count += 1
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        own = [pair for pair in node.value if pair[0].tag != MERGE]
        for key, value in node.value:
            if key.tag != MERGE:
                continue
            sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for source in reversed(sources):
                if not isinstance(source, yaml.MappingNode):
                    raise SegkitError(f"{self.at(key.start_mark.line)}: '<<' takes a mapping, or a list of mappings")
                if id(source) in within:
                    raise SegkitError(f"{self.at(key.start_mark.line)}: an alias that contains itself")
                merged += self.entries(source, within | {id(node)})
                self.check_count(max(self.count, len(merged)), key.start_mark.line)
        return merged + own

    def check_count(self, count: int, line: int) -> None:
        if count > MAX_VALUES:
            raise SegkitError(f"{self.at(line)}: more than {MAX_VALUES} values; do aliases multiply each other?")

    def key(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise SegkitError(f"{self.at(node.start_mark.line)}: a key must be a word or a number")
        value = self.scalar(node)
        return value if isinstance(value, (int, str)) and not isinstance(value, bool) else node.value

    def scalar(self, node: yaml.ScalarNode) -> Any:
        tag = node.tag.rpartition(":")[2]
        if not node.tag.startswith("tag:yaml.org,2002:") or tag not in (
            "null",
            "bool",
            "int",
            "float",
            "str",
            "merge",
            "value",
        ):
            self.refuse_tag(node)
        if tag in ("merge", "value"):
            return node.value
        try:
            return self.reader.construct_object(node)
        except (ValueError, KeyError, IndexError) as error:  # what PyYAML raises depends on the tag
            raise SegkitError(f"{self.at(node.start_mark.line)}: not YAML: '{node.value:.60}' is no {tag}") from error

    def refuse_tag(self, node: yaml.Node) -> None:
        raise SegkitError(f"{self.at(node.start_mark.line)}: the YAML tag '{node.tag}' is not allowed in a config")

    def at(self, line: int) -> str:
        return f"{self.source}:{line + 1}" if self.lines else self.source
