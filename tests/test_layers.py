"""Imports follow the layers of docs/architecture.md, to the left and never in a circle, for type checkers included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Left to right; packages of one line do not import each other.
LAYERS = (
    ("utils",),
    ("registry",),
    ("config",),
    ("structures",),
    ("data", "modeling", "solver", "postprocess"),
    ("visualization",),
    ("inference", "evaluation"),
    ("diagnosis", "results"),
    ("engine",),
    ("benchmark", "dataset_tools"),
    ("report",),
    ("study",),
    ("cli",),
    ("tools", "__main__"),
    ("scripts",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
EXEMPT = {"segkit", "segkit.doctor"}  # the lazy table of contents, and the command that looks at everything


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(f): f for top in ("segkit", "tools") for f in sorted((ROOT / top).rglob("*.py"))}
FILES = {name: file for name, file in FILES.items() if "configs" not in file.relative_to(ROOT).parts}


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """Yields the modules imported anywhere in ``tree``, under ``if TYPE_CHECKING`` too, with their lines."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")
                parent = parent[: len(parent) - node.level + is_package]
                base = ".".join([*parent, *([base] if base else [])])
            for name in (f"{base}.{alias.name}" for alias in node.names):
                # `from segkit.data import loader` may mean a module or a name of the package; `from segkit import X` is
                # one of the lazy names, which could lead anywhere
                known = name in FILES or (base == "segkit" and name != "segkit.__version__")
                yield name if known else base, node.lineno
        else:
            yield from imports(node, module, is_package)


def edges(module: str) -> list[tuple[str, int]]:
    file = FILES[module]
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    found = imports(tree, module, file.name == "__init__.py")
    return [(name, line) for name, line in found if name.split(".")[0] in ("segkit", "tools")]


def layer(module: str) -> str:
    parts = module.split(".")
    return "scripts" if parts[0] == "tools" else parts[1] if len(parts) > 1 else "segkit"


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_to_the_left(module):
    if module in EXEMPT:
        return
    own = layer(module)
    assert own in RANK, f"{module}: say in LAYERS where it belongs"
    for target, line in edges(module):
        other = layer(target)
        where = f"{FILES[module].relative_to(ROOT)}:{line} imports {target}"
        if own == "scripts":  # each is one command of the package
            assert target == f"segkit.{module}", f"{where}: a script runs the tool of its name"
            continue
        if own == "tools":
            assert other != "tools" or target == module, f"{where}: tools do not know each other"
            assert other != "scripts", where
            continue
        if target == "segkit":  # for its __version__: the package itself imports nothing
            continue
        assert other in RANK, f"{where}: import the module that defines it"
        assert other == own or RANK[other] < RANK[own], f"{where}: {other} is not to the left of {own}"


def test_no_imports_in_a_circle():
    graph = {module: sorted({t for t, _ in edges(module) if t in FILES}) for module in FILES if module not in EXEMPT}
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, "imports in a circle: " + " -> ".join([*chain[chain.index(module) :], module])
        if module in done or module not in graph:
            return
        for target in graph[module]:
            visit(target, (*chain, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_the_reader_of_imports_sees_what_it_should():
    text = """
import segkit.registry
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import segkit.engine
else:
    import segkit.solver
def f():
    from segkit.utils import errors, nothing
    from . import nodes
    from ..utils.errors import SegkitError
    from segkit import load_config
"""
    found = [name for name, _ in imports(ast.parse(text), "segkit.config.loader", False)]
    own = ["registry", "engine", "solver", "utils.errors", "utils", "config.nodes", "utils.errors", "load_config"]
    assert found == ["segkit.registry", "typing", *(f"segkit.{name}" for name in own[1:])]
    relative = [name for name, _ in imports(ast.parse("from .nodes import Node"), "segkit.config", True)]
    assert relative == ["segkit.config.nodes"]
