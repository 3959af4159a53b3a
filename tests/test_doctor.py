"""The doctor's report of a working installation, and of some that do not work."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segkit import doctor
from segkit.engine import environment
from segkit.utils import requirements
from segkit.utils.requirements import REQUIREMENTS, Requirement, version_tuple

ROOT = Path(__file__).resolve().parents[1]


def test_the_list_is_that_of_setup_py():
    call = next(
        n for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(n, ast.Call) and n.keywords
    )
    (needed,) = (ast.literal_eval(k.value) for k in call.keywords if k.arg == "install_requires")
    assert [r.name + (f">={r.minimum}" if r.minimum else "") for r in REQUIREMENTS] == needed


def test_here_it_works(capsys):
    assert doctor.main() == 0
    out = capsys.readouterr().out
    assert f"torch        {torch.__version__.split('+')[0]}" in out and "processors" in out
    assert out.rstrip().endswith("segkit can work here")


@pytest.mark.parametrize(
    "requirement, text",
    [
        (Requirement("no-such-distribution", "2.0"), "not installed: pip install 'no-such-distribution>=2.0'"),
        (Requirement("numpy", "999.1"), "older than 999.1: pip install --upgrade 'numpy>=999.1'"),
    ],
)
def test_what_is_missing(monkeypatch, capsys, requirement, text):
    monkeypatch.setattr(requirements, "REQUIREMENTS", (*REQUIREMENTS, requirement))
    assert doctor.main() == 1
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("version", [None, "1.0"])
def test_a_package_that_segkit_works_without_is_a_note(monkeypatch, capsys, version):
    real = Requirement.version
    monkeypatch.setattr(Requirement, "version", lambda self: version if self.name == "hotcoco" else real(self))
    assert doctor.main() == 0
    (note,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("note: hotcoco"))
    assert "pip install" in note and "hotcoco>=1.2" in note and "pycocotools" in note


def test_a_broken_package_that_segkit_works_without_is_a_note(monkeypatch, capsys, tmp_path):
    (tmp_path / "broken_module.py").write_text("raise OSError('no such symbol')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "COMPILED_OPTIONAL", (("hotcoco", "broken_module"), ("absent", "no_such_module")))
    assert doctor.main() == 0
    assert "note: hotcoco is installed and cannot be imported (OSError: no such symbol)" in capsys.readouterr().out


def test_versions_are_compared_as_numbers():
    assert version_tuple("2.11.0+cu130") == (2, 11, 0) > version_tuple("2.9") and version_tuple("2.12.0a0+git1") == (
        2,
        12,
        0,
    )
    assert Requirement("numpy", "1.2").problem() is None


def test_what_is_installed_and_broken(monkeypatch, capsys, tmp_path):
    (tmp_path / "broken_module.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "COMPILED", (("torchvision", "broken_module"),))
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "OSError: libcudart.so.13: cannot open): pip install --force-reinstall torch torchvision" in out


def test_it_needs_nothing_that_may_be_missing():
    """With torch, numpy and tabulate not to be imported it says so, and ends with 1."""
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'numpy', 'tabulate', 'termcolor'): sys.modules[name] = None\n"
        "runpy.run_module('segkit.doctor', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and not done.stderr
    assert "problem: numpy is installed and cannot be imported" in done.stdout


def test_notes(monkeypatch):
    monkeypatch.setattr(environment.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(environment.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(environment, "MIN_SHARED_MEMORY", 2**60)
    driver, *shared = environment.machine_notes()
    assert "sees no GPU" in driver
    assert all("data.num_workers=0" in note for note in shared)
    table = environment.environment_table(torch.device("cpu"))
    assert driver in table and "runs on" in table


def test_a_gpu_that_does_not_compute(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("CUDA error: no kernel image\nmore")

    monkeypatch.setattr(environment.torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(environment.torch, "ones", fail)
    (problem,) = environment.device_problems()
    assert problem.startswith("cuda:0 does not compute (CUDA error: no kernel image)") and "train.device=cpu" in problem
