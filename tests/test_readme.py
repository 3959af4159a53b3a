"""The README is short and true; tests/docs runs its commands as those of every page."""

import re
from pathlib import Path

import segkit

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_gate_runs_all_commands():
    gate = (ROOT / ".ci/run").read_text()
    first, second, *own = blocks("bash")
    for command in "".join(own).splitlines():
        assert command in gate, command
    install, train = first.strip().split(" && ")
    assert install.removeprefix("pip install ") in gate and train in gate
    assert ".[test" in gate and "\npytest" in gate and second.strip() == "pip install -e '.[test]' && pytest"


def test_names_are_registered():
    table = README.split("## What it can do")[1].split("\n## ")[0]
    known = {
        name
        for registry in vars(segkit.registry).values()
        if isinstance(registry, segkit.Registry)
        for name in registry.names()
    }
    names = re.findall(r"`([A-Z]\w+)`", table)
    assert len(names) >= 8
    for name in names:
        assert name in known, name


def test_it_is_short():
    assert len(README.splitlines()) < 70


def test_the_documentation_is_installed_by_its_extra():
    assert '"docs": [' in (ROOT / "setup.py").read_text() and ".[docs]" in README
