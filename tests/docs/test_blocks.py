"""Every block of code in the README and the pages: commands and Python run, configs load, messages are what is printed."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import segkit
from segkit.study.study_file import read_study

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r'^( *)```(\w+)(?: title="(.*?)")?\n(.*?)^\1```$', flags=re.MULTILINE | re.DOTALL)
STUDY = "output: output/study\nruns: {narrow: {base: segkit://quickstart.yaml}}\n"
SHORT = ["train.iterations=1", "data.num_workers=0", "data.batch_size=1", "train.device=cpu", "train.report=false"]

SMALL = ["data.train_transforms=[]", "data.test_transforms=[]"]  # no enlarged images

SAME_MODEL = ("mine.yaml", "segkit://quickstart.yaml")  # analyzed once

# Commands that run somewhere else, with the file that runs them and the text it has for them.
ELSEWHERE = {
    "pip install -e .": (".ci/run", "-e .\n"),
    "pip install -e '.[test]'": (".ci/run", "-e '.[test"),
    "pytest": (".ci/run", "\npytest"),
    "python tools/train_net.py --config-file configs/quickstart.yaml": (".ci/run", "configs/quickstart.yaml"),
    "segkit train --config-file segkit://quickstart.yaml": (".ci/run", "--config-file segkit://quickstart.yaml"),
    "python examples/own_dataset.py": ("tests/examples/test_examples.py", '"own_dataset": ['),
}
# Commands whose arguments are checked and that do not run here, with the reason.
NOT_RUN = {
    "--num-gpus": "starts several processes: tests/faults/test_distributed.py",
    "torchrun": "starts several processes: tests/faults/test_distributed.py",
    "--config-file finetune.yaml": "downloads the weights of a ResNet-50 and trains it",
    "segkit benchmark": "measures for minutes: tests/benchmark",
    "segkit fit": "times and trains a model: tests/dataset_tools/suggest/test_fit.py",
    "segkit dataset stats": "tests/dataset_tools/suggest/test_fit.py",
    "--device cuda": "needs a GPU",
    "segkit report": "tests/report/test_report_command.py",
    "segkit dataset tile": "writes many files: tests/dataset_tools/test_tile.py",
    "segkit dataset label-errors": "needs runs on the reader's data: tests/dataset_tools/test_label_errors.py",
    "scontrol": "needs Slurm",
    "#SBATCH": "needs Slurm",
    "movie.tif": "a file of the reader: tests/inference/test_series.py",
    "--ray": "needs Ray: tests/results/test_ray_run.py",
    "until ": "repeats a command that runs above it on the page until a signal ends it",
}


if importlib.util.find_spec("trackio") is None:
    NOT_RUN["tracked.yaml"] = "needs trackio"


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    code: str


def blocks(page: Path) -> list[Block]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(language, title or None, textwrap.dedent(code)) for _, language, title, code in found]


def commands(block: Block) -> list[str]:
    """The commands of a block, comments and line ends removed; a shell script is one command."""
    code = block.code.replace("\\\n", " ")
    if code.startswith("#!") or code.startswith("until "):
        return [code.strip()]
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    return [part.strip() for line in lines for part in line.split(" && ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page, runner, capsys):
    """The blocks of a page, in their order; files with a title are written, Python goes on from block to block."""
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.title is not None:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.code)
        if block.language == "python" and block.title is None:
            run_python(block.code, page.name, names)
        elif block.language == "python":
            compile(block.code, block.title, "exec")
        elif block.language == "yaml":
            load(block)
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "bash":
            assert subprocess.run(["bash", "-n"], input=block.code, text=True).returncode == 0, block.code
            for command in commands(block):
                run_command(command, runner)
        else:
            assert block.language == "text", f"{page}: nothing is known about blocks of '{block.language}'"
            check_messages(block.code)


def run_python(code: str, name: str, names: dict[str, object]) -> None:
    code = code.replace('["output_dir=output/from_python"]', repr(["output_dir=output/from_python", *SHORT]))
    exec(compile(code, name, "exec"), names)


def load(block: Block) -> None:
    """A config loads, a part of one loads upon the quickstart; a study file, or a part of one, is read."""
    if re.search(r"^(runs|search|executor):", block.code, re.MULTILINE):
        Path("study_block.yaml").write_text(block.code if "output:" in block.code else STUDY + block.code)
        assert read_study("study_block.yaml")
        return
    text = block.code if "_BASE_" in block.code else f"_BASE_: segkit://quickstart.yaml\n{block.code}"
    path = Path(block.title or "block.yaml")
    path.write_text(text)
    cfg = segkit.load_config(path)
    keys = [line.split(":")[0] for line in block.code.splitlines() if re.match(r"[a-z]\w*:", line)]
    assert all(hasattr(cfg, key) for key in keys)


def run_command(command: str, runner) -> None:
    if command in ELSEWHERE:
        place, text = ELSEWHERE[command]
        assert text in (ROOT / place).read_text(), f"{place} does not run: {command}"
        return
    if any(text in command for text in NOT_RUN):
        check_arguments(command)
        return
    words = shlex.split(command)
    kind = words[1]
    if kind == "train":
        if not runner.is_first(words):
            check_overrides(words)
            return
        words += [*SHORT, *([] if {"--dry-run", "--resume"} & set(words) else ["--dry-run"])]
        words += SMALL if "nuclei.yaml" in words else []
    elif kind == "eval":
        words += [] if {"--data", "--id-map"} & set(words) else ["data.num_workers=0", "train.device=cpu"]
    elif kind == "predict":
        words += ["--device", "cpu"] if "--opts" not in words else []
    elif kind == "analyze":
        config = words[words.index("--config-file") + 1]
        if config in SAME_MODEL and not runner.is_first(["analyze", "--config-file", SAME_MODEL[0]]):
            check_arguments(command)
            return
        words += ["--size", "64", "64", "--runs", "1", "--device", "cpu"]
    elif kind == "study" and "--dry-run" not in words:
        check_arguments(command)  # tests/study
        return
    else:
        assert kind in ("compare", "config", "doctor", "dataset", "study"), (
            f"say in ELSEWHERE or NOT_RUN who runs: {command}"
        )
    assert runner(words) == 0, command
    if kind == "predict":
        output = Path(words[words.index("--output") + 1])
        assert json.loads((output / "prediction_info.json").read_text())["images"]
        assert ("--id-map" in words) == (output / "test-results.zip").exists()


def check_overrides(words: list[str]) -> None:
    """A training that runs already, with other values: these are valid."""
    from segkit.cli.main import MODULES

    options = importlib.import_module(MODULES["train"]).parse_arguments(words[2:])
    segkit.load_config(options.config_file, options.opts)


def check_arguments(command: str) -> None:
    """The arguments of a command that does not run here are those that the command takes."""
    if not command.startswith("segkit "):
        return
    from segkit.cli.main import MODULES

    _, name, *words = shlex.split(command)
    importlib.import_module(MODULES[name]).parse_arguments(words)


def check_messages(text: str) -> None:
    """An error message in a block of text is the one that the command prints."""
    for line in text.splitlines():
        if found := re.match(r"error: ([\w.]+) \(command line\): ", line):
            key = found[1]
            with pytest.raises(segkit.SegkitError) as raised:
                segkit.load_config("segkit://quickstart.yaml", [f"{key}=3"])
            assert f"error: {raised.value}" == line


def test_every_block_is_found():
    """No fence that the pattern misses: as many as there are lines of backticks, by two."""
    for page in PAGES:
        lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.strip().startswith("```")]
        assert len(lines) == 2 * len(blocks(page)), page


def test_python_files_are_imported_by_a_config():
    """A file with a title runs because a config of its page imports it."""
    for page in PAGES:
        yaml = "\n".join(block.code for block in blocks(page) if block.language == "yaml")
        for block in blocks(page):
            if block.language == "python" and block.title is not None:
                assert f"imports: [{Path(block.title).stem}]" in yaml, (page, block.title)


def test_no_reason_is_left_over():
    found = [
        command for page in PAGES for block in blocks(page) if block.language == "bash" for command in commands(block)
    ]
    assert set(ELSEWHERE) <= set(found)
    assert [text for text in NOT_RUN if not any(text in command for command in found)] == []
