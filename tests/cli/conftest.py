"""The command ``segkit`` in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from segkit.cli.main import main
from segkit.utils.cli import run_cli


@pytest.fixture
def segkit_command(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs ``segkit WORDS``; returns the exit status, and what it wrote on stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        typed = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["segkit", *typed])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_cli(lambda: main(typed))
        return ended.value.code, *capsys.readouterr()

    return run
