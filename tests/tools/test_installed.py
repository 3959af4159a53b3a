"""The commands in every form of installation: editable in its three modes, wheel, sdist, or the checkout on the path."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


def keywords() -> dict[str, ast.expr]:
    """The arguments of setup.py's setup()."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    call = next(node for node in calls if getattr(node.func, "id", "") == "setup")
    return {word.arg: word.value for word in call.keywords if word.arg}


def test_modules_lie_where_their_names_say():
    """An editable install's finder looks for a package's modules below the package's own folder only."""
    moved = ast.literal_eval(keywords()["package_dir"])
    assert moved == {"segkit.configs": "configs"}
    assert not list((ROOT / "configs").rglob("*.py")), "a module there is not found in an editable install"


def test_the_console_script():
    assert ast.literal_eval(keywords()["entry_points"]) == {"console_scripts": ["segkit = segkit.cli.main:run"]}
    assert importlib.import_module("segkit.cli.main").run.__doc__


def test_the_schemas_are_installed_with_the_configurations():
    for name in ("schema.json", "study_schema.json"):
        assert name in ast.literal_eval(keywords()["package_data"])["segkit.configs"]
        assert f"configs/{name}" in (ROOT / "MANIFEST.in").read_text().split()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_script_runs_the_module_of_its_name(name):
    tree = ast.parse((ROOT / "tools" / f"{name}.py").read_text())
    found = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert found == [f"segkit.tools.{name}"] and (ROOT / "segkit" / "tools" / f"{name}.py").is_file()
    assert os.access(ROOT / "tools" / f"{name}.py", os.X_OK)


def test_tools_are_short_and_know_the_commands_only():
    for path in [*(ROOT / "tools").glob("*.py"), *(ROOT / "segkit" / "tools").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60, path
        found = [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
        own = [module for module in found if module.startswith("segkit") and not module.startswith("segkit.tools")]
        assert all(module.startswith("segkit.cli.") or module == "segkit.utils.cli" for module in own), path


def test_every_module_of_the_tools_has_a_script():
    assert sorted(path.stem for path in (ROOT / "segkit" / "tools").glob("[!_]*.py")) == COMMANDS


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lenient", "compat", "strict", "wheel", "sdist"])
def test_installed(mode, tmp_path):
    """In a virtual environment that borrows this one's packages, from a folder of its own."""
    source, venv = tmp_path / "source", tmp_path / "venv"
    ignored = shutil.ignore_patterns(".git", "output", "build", "__pycache__", "*.egg-info", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (venv / "lib" / name / "site-packages" / "shared.pth").write_text(sysconfig.get_path("purelib"))
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    what = ["-e", source, f"--config-settings=editable_mode={mode}"] if mode not in ("wheel", "sdist") else [source]
    if mode == "sdist":
        subprocess.run([sys.executable, "setup.py", "-q", "sdist"], cwd=source, env=env, check=True)
        what = list((source / "dist").glob("*.tar.gz"))
    pip = [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *what], env=env, check=True)

    def run(*words: str, program: Path = python) -> str:
        done = subprocess.run([program, *words], capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    names = run("config", "list", program=venv / "bin" / "segkit")
    assert "quickstart" in names and names == run("-m", "segkit", "config", "list")
    folder = run("-c", "from segkit.utils.paths import packaged_configs; print(packaged_configs())").strip()
    assert (Path(folder) / "schema.json").is_file()
    for command in COMMANDS:
        assert "usage:" in run("-m", f"segkit.tools.{command}", "--help")
    quickstart = run("-m", "segkit.tools.describe_config", "--config-file", "segkit://quickstart.yaml", "--yaml")
    assert "TinyNet" in quickstart
    assert str(tmp_path) in run("-c", "import segkit; print(segkit.__file__)")
