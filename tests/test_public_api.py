"""The public API: what the packages export is there, is described and annotated, and is not removed unseen.

After adding or removing a public name: ``python tests/test_public_api.py`` writes ``tests/public_api.txt`` again.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = (
    "segkit",
    "segkit.config",
    "segkit.data",
    "segkit.modeling",
    "segkit.structures",
    "segkit.solver",
    "segkit.evaluation",
    "segkit.inference",
    "segkit.postprocess",
    "segkit.results",
    "segkit.visualization",
    "segkit.engine",
)
SNAPSHOT = Path(__file__).with_name("public_api.txt")
FIRST_LINE = 90  # characters, as in the style page


def public_names() -> list[str]:
    """``package.name`` of everything that the packages list in ``__all__``."""
    return [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__]


def resolve(name: str) -> object:
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(package), attribute)


NAMES = public_names()
CALLABLES = [name for name in NAMES if callable(resolve(name))]


def test_no_name_is_added_or_removed_unseen():
    known = SNAPSHOT.read_text(encoding="utf-8").split()
    removed, added = sorted(set(known) - set(NAMES)), sorted(set(NAMES) - set(known))
    assert not removed, f"public names are gone: {removed}; if that is meant, run python tests/test_public_api.py"
    assert not added, f"new public names: {added}; run python tests/test_public_api.py and say so in CHANGELOG.md"
    assert known == NAMES


@pytest.mark.parametrize("package", PACKAGES)
def test_lists_are_complete_and_sorted_without_repetition(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__) and set(module.__all__) <= set(dir(module))
    assert module.__doc__ and len(module.__doc__.splitlines()[0]) <= FIRST_LINE


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_names_that_are_imported_lazily(package):
    """The imports under ``if TYPE_CHECKING``, the homes and ``__all__`` say the same."""
    module = importlib.import_module(package)
    if not hasattr(module, "_HOMES"):
        return
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != package]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    homes = {name: home for home, names in module._HOMES.items() for name in names.split()}
    assert seen == homes
    assert sorted(homes) == sorted(set(module.__all__) - {"__version__"})


@pytest.mark.parametrize("name", [name for name in CALLABLES if "REGISTRY" not in name])
def test_a_public_name_is_described_in_one_line_and_annotated(name):
    found = resolve(name)
    doc = inspect.getdoc(found) or ""
    assert doc, f"{name} has no docstring"
    first = doc.splitlines()[0]
    assert len(first) <= FIRST_LINE, f"{name}: the first line has {len(first)} characters: {first}"
    assert not inspect.isclass(found) or found.__doc__, f"{name} inherits its docstring"
    for parameter in inspect.signature(found).parameters.values():
        annotated = parameter.annotation is not inspect.Parameter.empty
        assert annotated or parameter.name in ("self", "cls"), f"{name}: {parameter.name} has no annotation"
    if inspect.isfunction(found):
        assert inspect.signature(found).return_annotation is not inspect.Signature.empty, f"{name}: returns what?"


def test_packages_are_attributes_of_segkit():
    code = (
        "import segkit, sys\n"
        "assert 'torch' not in sys.modules\n"
        "assert segkit.modeling.FeatureSpec and 'segkit.modeling.backbones' not in sys.modules\n"
        "assert segkit.data.from_torchvision and segkit.structures.Sample and segkit.engine.Hook\n"
        "from segkit.modeling import *\n"
        "print(ConvNeXt.__name__)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ConvNeXt"


@pytest.mark.parametrize("package", PACKAGES)
def test_other_names_are_an_attribute_error(package):
    assert not hasattr(importlib.import_module(package), "no_such_name")


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
