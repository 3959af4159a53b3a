"""What is imported when: ``import segkit`` and ``--help`` stay cheap by not importing torch (nothing is timed here)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import segkit

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "tools").glob("[!_]*.py"))
HEAVY = ("torch", "torchvision", "numpy", "matplotlib", "PIL", "tensorboard", "pycocotools", "hotcoco")


def run(code: str, *arguments: str, folder: Path | None = None) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env, timeout=120, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_segkit_imports_nothing_heavy():
    code = f"import segkit, sys; print([m for m in {HEAVY} if m in sys.modules], segkit.__version__)"
    assert run(code).strip() == f"[] {segkit.__version__}"


@pytest.mark.parametrize("tool", SCRIPTS, ids=lambda tool: tool.name)
def test_help_answers_without_torch(tool):
    code = (
        "import runpy, sys\n"
        "tool = sys.argv[1]\n"
        "sys.argv = [tool, '--help']\n"
        "try:\n"
        "    runpy.run_path(tool, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules])\n"
    )
    out = run(code, str(tool))
    assert "usage:" in out and out.rstrip().endswith("HEAVY []")


@pytest.mark.parametrize("tool", [script.stem for script in SCRIPTS] + ["doctor"])
def test_the_tools_are_modules_found_from_any_folder(tool, tmp_path):
    module = "segkit.doctor" if tool == "doctor" else f"segkit.tools.{tool}"
    code = (
        "import runpy, sys\n"
        f"found = runpy.run_module({module!r}, run_name='found')\n"
        "print(found['__file__'], [name for name in ('main', 'run') if name in found])\n"
        f"print([m for m in {HEAVY} if m in sys.modules])\n"
    )
    out = run(code, folder=tmp_path).splitlines()
    assert out[0].startswith(str(ROOT / "segkit")) and "'main'" in out[0]
    assert out[1] == "[]"


@pytest.mark.parametrize("name", [name for name in segkit.__all__ if name != "__version__"])
def test_every_listed_name_is_there(name):
    assert getattr(segkit, name).__module__.startswith("segkit.")
    assert name in dir(segkit)
