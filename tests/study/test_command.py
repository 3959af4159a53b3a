"""The command ``segkit study``, and a study of real trainings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from segkit.cli import study as command
from segkit.cli.main import main as segkit_main
from segkit.config import load_config
from segkit.study import evaluate_run
from segkit.study.executors import Executor, Process
from segkit.study.state import last_evaluation
from segkit.utils.cli import run_cli
from segkit.utils.errors import RunInterrupted


class InThisProcess(Executor):
    """Runs jobs without processes, as torch is loaded already."""

    slots = 1

    def __init__(self) -> None:
        self.words: list[list[str]] = []

    def start(self, job):
        words = list(job.command[2:])
        self.words.append(words)
        if job.command[1:3] == ("-m", "segkit"):
            status = segkit_main(words[1:])
        else:
            status = evaluate_run.main(words[1:])

        class Ended(Process):
            def poll(self):
                return status

            def stop(self):
                raise AssertionError

        return Ended()


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_cli(lambda: command.main(command.parse_arguments(words, "segkit study")))
    return ended.value.code


@pytest.mark.parametrize("report", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_study_of_real_trainings(study_file, monkeypatch, capsys, report):
    executor = InThisProcess()
    if not report:  # which takes longer than the trainings
        monkeypatch.setattr("segkit.study.outcome.write_study_report", lambda *args: [])
    monkeypatch.setattr("segkit.study.run.make_executor", lambda *args: executor)
    text = """
base: base.yaml
output: out
seeds: [3]
metric: segm/AP50
budget: {iterations: 3}
runs:
  wide: {overrides: {model.neck.out_channels: 24}}
  strict: {from: wide, overrides: {model.roi_heads.score_threshold: 0.9}}
"""
    assert run(study_file(text)) == 0
    out = capsys.readouterr().out
    assert "wide seed 3: finished, segm/AP50" in out and "strict seed 3: finished" in out
    assert len(executor.words) == 2 and "--resume" in executor.words[0]
    first, second = (
        json.loads(Path("out", name, "seed_3/metrics.json").read_text().splitlines()[-1]) for name in ("wide", "strict")
    )
    assert first["iteration"] == second["iteration"] == 3 and "segm/AP50" in second and "loss/total" not in second
    strict = json.loads(Path("out/strict/seed_3/inference/coco_instances_results.json").read_text())
    assert all(one["score"] >= 0.9 for one in strict)
    table = Path("out/study.md").read_text()
    assert "| wide | 1 | " in table and "No difference shown between strict and wide" in table
    assert "over 3 images; another seed may differ" in table or "+0.000" in table or "0.000 (" in table
    for name in (
        "tables.png",
        "tables.svg",
        "curves.png",
        "curves.svg",
        "study.csv",
        "study.tex",
        *(["report.html"] if report else []),
    ):
        assert Path("out", name).stat().st_size > 50
    assert run("study.yaml") == 0 and len(executor.words) == 2  # nothing is started again


def test_an_evaluation_writes_no_nan(study_file, tmp_path, monkeypatch):
    """JSON has none; null says that there was nothing to measure."""
    config = load_config(study_file().replace("study", "base"), ["output_dir=strict"])
    Path("run.yaml").write_text(config.to_yaml())
    metrics = {"segm/AP": 0.25, "segm/APs": float("nan")}
    monkeypatch.setattr("segkit.engine.run.evaluate_only", lambda *args, **more: metrics)
    monkeypatch.setattr("segkit.engine.checkpoint.read_checkpoint", lambda path: {"classes": ["a"], "iteration": 3})
    assert evaluate_run.main(["run.yaml", "model.pth"]) == 0
    assert json.loads(Path("strict/metrics.json").read_text()) == {"iteration": 3, "segm/AP": 0.25, "segm/APs": None}
    found = last_evaluation(Path("strict"))
    assert found.value("segm/APs") is None and found.value("segm/AP") == 0.25


def test_a_dry_run_starts_nothing(study_file, capsys):
    assert run(study_file(), "--dry-run", "train.iterations=9", "--seeds", "5,6", "--output", "elsewhere") == 0
    out = capsys.readouterr().out
    assert (
        "9 iterations" in out and "5, 6" in out and "evaluates wide" in out and "6 runs in elsewhere, 0 finished" in out
    )
    assert not Path("elsewhere").exists() and not Path("out").exists()


@pytest.mark.parametrize(
    "words, status, facts",
    [
        (["none.yaml"], 1, ["none.yaml"]),
        (["train.iterations=3"], 2, ["the study file comes first"]),
        (["study.yaml", "--jobs", "0"], 2, ["--jobs", "at least 1"]),
        (["study.yaml", "--seeds", "1,x"], 2, ["--seeds", "0,1,2"]),
        (["study.yaml", "--tables", "--dry-run"], 2, ["cannot be combined"]),
        (["study.yaml", "--dryrun"], 2, ["--dry-run"]),
        (["study.yaml", "train.iteratons=3", "--dry-run"], 1, ["run 'narrow'", "train.iterations"]),
        (["study.yaml", "train.seed=3", "--dry-run"], 1, ["'seeds'"]),
    ],
)
def test_mistakes(study_file, capsys, words, status, facts):
    study_file()
    assert run(*words) == status
    error = capsys.readouterr().err
    assert all(fact in error for fact in facts), error


def test_failures_and_interruptions_have_their_status(study_file, monkeypatch, capsys):
    monkeypatch.setattr("segkit.study.run.run_study", lambda *args: {"wide seed 0": "broken"})
    assert run(study_file()) == 1 and "failed: wide seed 0: broken" in capsys.readouterr().err

    def interrupted(*args):
        raise RunInterrupted(15)

    monkeypatch.setattr("segkit.study.run.run_study", interrupted)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "segkit", "study", "study.yaml", "--restart-changed"])
    assert run("study.yaml") == 75
    error = capsys.readouterr().err
    assert "SIGTERM" in error and error.rstrip().endswith("-m segkit study study.yaml")
