"""The completion script, in bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from segkit.cli.completion import completion_script
from segkit.cli.main import MODULES


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["tr"], ["train"]),
        (["config", "sh"], ["show"]),
        (["config", "show", "quick"], ["quickstart"]),
        (["train", "--num-m"], ["--num-machines"]),
        (["train", "quickstart", "--re"], ["--resume", "--restart"]),
        (["eval", "coco/rpn"], ["coco/rpn_r50_fpn"]),
        (["predict", "--id"], ["--id-map"]),
        (["predict", "quick"], []),
    ],
)
def test_words(typed, expected):
    words = " ".join(f"'{word}'" for word in ["segkit", *typed])
    ask = f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _segkit; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    script = f"{completion_script(MODULES)}\n{ask}\n"
    done = subprocess.run(["bash", "--norc"], input=script, capture_output=True, text=True, timeout=60)
    assert not done.stderr and done.stdout.split() == expected
