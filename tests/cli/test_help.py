"""``--help`` of every command: it has examples that parse, and it imports nothing heavy."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.cli import config
from segkit.cli.dataset import main as dataset
from segkit.cli.main import COMMANDS, MODULES

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "matplotlib",
    "PIL",
    "tensorboard",
    "pycocotools",
    "hotcoco",
    "yaml",
    "iopath",
)
ALL = [
    [],
    *([name] for name in COMMANDS),
    *(["config", name] for name in config.COMMANDS),
    *(["dataset", name] for name in dataset.COMMANDS),
]
CODE = """
import contextlib, io, json, sys
from segkit.cli.main import main
texts = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as written:
        try:
            main(words)
        except SystemExit as end:
            assert not end.code, (words, end.code)
    texts.append(written.getvalue())
print(json.dumps([texts, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def helps() -> tuple[list[str], list[str]]:
    """The help of all commands, and the modules that were imported for it."""
    words = [[*words, "--help"] for words in ALL] + [["--version"]]
    command = [sys.executable, "-c", CODE, json.dumps(words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    texts, modules = json.loads(done.stdout)
    return texts, modules


def test_nothing_heavy_is_imported(helps):
    assert not set(HEAVY) & set(helps[1])


def test_all_have_examples_and_descriptions(helps):
    for words, text in zip(ALL, helps[0], strict=False):
        assert text.startswith(f"usage: {shlex.join(['segkit', *words])} "), words
        assert "\nexamples:\n" in text and "Traceback" not in text
    assert helps[0][-1].startswith("segkit ")  # --version


def test_lists_name_every_command(helps):
    assert MODULES.keys() == COMMANDS.keys()
    for name, text in COMMANDS.items():
        assert name in helps[0][0] and text in helps[0][0]


def test_formats_are_those_of_the_registries():
    from segkit.cli.dataset.arguments import READABLE, WRITABLE
    from segkit.registry import DATASET_FORMAT_REGISTRY, DATASET_WRITER_REGISTRY

    not_recognised = {"auto", "catalog", "synthetic", "tiles"}
    assert list(READABLE) == sorted(set(DATASET_FORMAT_REGISTRY.names()) - not_recognised)
    assert list(WRITABLE) == sorted(DATASET_WRITER_REGISTRY.names())


def parse(words):
    name, *rest = words
    return importlib.import_module(MODULES[name]).parse_arguments(rest, f"segkit {name}")


def test_examples_parse(helps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output/mine").mkdir(parents=True)
    (tmp_path / "output/mine/config.yaml").touch()  # a run, which the examples name
    count = 0
    for text in helps[0][:-1]:
        for line in text.partition("\nexamples:\n")[2].splitlines():
            words = shlex.split(re.split(r" [>|] ", line)[0])
            if words[:1] == ["segkit"] and "--help" not in words:
                parse(words[1:])
                count += 1
    assert count > 30


def test_options_are_explained(helps):
    """Every option has a text, and defaults are said where they are not nothing."""
    leaves = {name: module for name, module in MODULES.items() if name not in ("config", "dataset")}
    for name, module in {**leaves, **dataset.MODULES}.items():
        for action in importlib.import_module(module).make_parser("segkit")._actions:
            assert action.help, (name, action.dest)
            if action.option_strings and action.default not in (None, False, [], "==SUPPRESS=="):
                assert "default" in action.help, (name, action.dest)
