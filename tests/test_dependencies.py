"""What segkit imports is what setup.py declares, and the other way round."""

from __future__ import annotations

import ast
import functools
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Distributions that are called otherwise than what they give; asked of the environment first.
KNOWN = {"yaml": "pyyaml", "PIL": "pillow", "mlflow": "mlflow-skinny"}
# Declared, but imported by name nowhere: torch.utils.tensorboard needs tensorboard.
UNSEEN = {"tensorboard"}
# Measured beside segkit where they happen to be installed, and named as skipped otherwise.
PEERS = dict.fromkeys(("detectron2", "supervision", "sahi"), "segkit/benchmark/")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", name.strip(), maxsplit=1)[0]).lower()


def declared() -> tuple[set[str], set[str]]:
    """The distributions of install_requires, and those of all extras, read without running setup.py."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    constants = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                constants[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    call = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "setup")

    def value(keyword: str):
        node = next((k.value for k in call.keywords if k.arg == keyword), None)
        assert node is not None, f"setup.py: no {keyword}"
        return constants[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)

    extras = {normal(name) for names in value("extras_require").values() for name in names}
    return {normal(name) for name in value("install_requires")}, extras


@functools.cache
def imported(folders: tuple[str, ...] = ("segkit", "tools")) -> dict[str, list[str]]:
    """Third-party top-level modules, with the files that import them."""
    found: dict[str, list[str]] = {}
    own = {"segkit", "tools"}
    if "tests" in folders:  # whose files import each other and the scripts
        own |= {path.stem for top in ("tests", "tools", "examples") for path in (ROOT / top).rglob("*")}
    for file in [f for top in folders for f in sorted((ROOT / top).rglob("*.py"))]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for top in {name.split(".")[0] for name in names}:
                if top not in sys.stdlib_module_names and top not in own:
                    found.setdefault(top, []).append(str(file.relative_to(ROOT)))
    return found


@functools.cache
def installed() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def distributions(module: str) -> set[str]:
    if module in KNOWN:
        return {KNOWN[module]}
    return {normal(name) for name in installed().get(module, [module])}


def test_every_import_is_declared():
    needed, extras = declared()
    for module, files in imported().items():
        if module in PEERS and all(file.startswith(PEERS[module]) for file in files):
            continue
        assert distributions(module) & (needed | extras), f"{module} ({files[0]}) is not declared in setup.py"


def test_what_the_tests_and_examples_import_is_declared():
    """Modules that are not installed are the tests' own, made up or written by them."""
    needed, extras = declared()
    for module, files in imported(("tests", "examples")).items():
        if module not in installed() and module not in KNOWN:
            continue
        assert distributions(module) & (needed | extras), f"{module} ({files[0]}) is not declared in setup.py"


def test_every_requirement_is_imported():
    used = {name for module in imported() for name in distributions(module)}
    assert declared()[0] - UNSEEN <= used, f"declared, but imported nowhere: {declared()[0] - UNSEEN - used}"
