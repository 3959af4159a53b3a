"""Search by Optuna over stand-ins: rungs, pruning, kills, mistakes."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import pytest
from fakes_study import starts

from segkit.study.optuna_storage import make_pruner
from segkit.study.run import StudyOptions, list_runs, run_study, write_tables
from segkit.study.study_file import Search
from segkit.utils.errors import MissingPackage, SegkitError

SEARCH = """
base: base.yaml
output: out
metric: segm/AP
budget: {iterations: 9}
search:
  trials: 9
  space:
    model.neck.out_channels: {low: 8, high: 64, step: 8}
    solver.optimizer.lr: {low: 1e-5, high: 1e-2, log: true}
    data.train_transforms: [[], [{name: RandomHorizontalFlip, p: 0.5}]]
  rungs: [3, 6]
"""


@pytest.fixture(autouse=True)
def _optuna():
    pytest.importorskip("optuna")


def ranking(folder: str) -> list[dict[str, str]]:
    with open(Path(folder, "search.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_trials_pause_at_rungs(study_file, fake_runs, monkeypatch):
    monkeypatch.setattr("segkit.study.scheduler.POLL", 0.01)
    file = study_file(SEARCH.replace("trials: 9", "trials: 2").replace("[3, 6]", "[3]"))
    assert run_study(file) == {}
    rows = ranking("out")
    assert [row["state"] for row in rows] == ["complete"] * 2 and float(rows[0]["segm/AP"]) >= float(rows[1]["segm/AP"])
    for number in (0, 1):
        folder = Path(f"out/trials/trial_{number:04}")
        assert starts(folder) == [0, 3] and len((folder / "metrics.json").read_text().splitlines()) == 9
    assert run_study(file) == {} and ranking("out") == rows and starts(Path("out/trials/trial_0001")) == [0, 3]
    Path("base.yaml").write_text(Path("base.yaml").read_text().replace("batch_size: 2", "batch_size: 4"))
    with pytest.raises(SegkitError, match=r"another configuration \(data.batch_size"):
        run_study(file)


def test_a_trial_without_detections_is_the_worst(study_file, fake_runs, monkeypatch):
    monkeypatch.setattr("segkit.study.scheduler.POLL", 0.01)
    text = (
        SEARCH.replace("trials: 9", "trials: 1").replace("[3, 6]", "[3]\n  pruner: none")
        + "overrides: {data.test_batch_size: 9}\n"
    )
    file = study_file(text)
    assert "nothing to measure segm/AP by" in run_study(file)["trial_0000"]
    (row,) = ranking("out")
    assert (row["state"], row["segm/AP"], row["iterations"]) == ("fail", "", "9")
    Path("out/search.md").unlink()
    write_tables(file, StudyOptions())
    assert "| 0 | fail |  | 9 |" in Path("out/search.md").read_text()


def test_halving_keeps_the_better_half():
    """At the first rung, and at each by which the iterations have doubled."""
    import optuna

    pruner = make_pruner(Search(space={}, rungs=(500, 1000), pruner="halving"))
    study = optuna.create_study(direction="maximize", pruner=pruner)
    pruned = []
    for value in (5, 4, 6, 7, 1, 8):
        trial = study.ask()
        trial.report(value, 500)
        pruned.append(trial.should_prune())
        trial.report(value, 1000)
        pruned.append(trial.should_prune())
    assert pruned[::2] == [False, True, False, False, True, False]
    assert type(make_pruner(Search(space={}, pruner="halving"))) is optuna.pruners.NopPruner


@pytest.mark.slow
def test_bad_trials_are_pruned_and_a_killed_search_makes_the_same_choices(study_file, fake_runs, monkeypatch):
    monkeypatch.setattr("segkit.study.scheduler.POLL", 0.01)
    file = study_file(SEARCH)
    assert "9 trials by tpe" in list_runs(file, StudyOptions())
    assert run_study(file) == {}
    rows = ranking("out")
    states = [row["state"] for row in rows]
    assert len(rows) == 9 and 1 <= states.count("pruned") <= 4 and set(states) == {"complete", "pruned"}
    values = [float(row["segm/AP"]) for row in rows if row["state"] == "complete"]
    assert values == sorted(values, reverse=True) and values[0] > values[-1]
    for row in rows:
        seen = starts(Path("out/trials", f"trial_{int(row['trial']):04}"))
        assert seen == [0, 3, 6] if row["state"] == "complete" else seen in ([0], [0, 3])
        assert int(row["iterations"]) == (9 if row["state"] == "complete" else 3 * len(seen))
    # Killed while a trial runs, the search continues with the same choices and repeats nothing.
    pid = os.fork()
    if pid == 0:
        try:
            run_study(file, StudyOptions(output="killed"))
        finally:
            os._exit(1)
    end = time.monotonic() + 30
    while not Path("killed/trials/trial_0002/metrics.json").exists() and time.monotonic() < end:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    run_study(file, StudyOptions(output="killed"))
    assert ranking("killed") == rows
    before = [path.stat().st_mtime_ns for path in sorted(Path("killed/trials").glob("*/metrics.json"))]
    run_study(file, StudyOptions(output="killed"))
    assert before == [path.stat().st_mtime_ns for path in sorted(Path("killed/trials").glob("*/metrics.json"))]


@pytest.mark.parametrize(
    "old, new, facts",
    [
        ("{low: 8, high: 64, step: 8}", "{low: 64, high: 8}", ["out_channels", "below high"]),
        ("{low: 8, high: 64, step: 8}", "{low: 8, hihg: 64}", ["hihg", "high"]),
        ("{low: 8, high: 64, step: 8}", "7", ["study.yaml:9", "list of choices"]),
        ("{low: 1e-5,", "{low: 0,", ["logarithmic"]),
        ("[[], [", "[[3], [", ["run 'trial_0000'", "train_transforms"]),
        ("rungs: [3, 6]", "rungs: [3, 9]", ["rungs", "1 and 8"]),
        ("{iterations: 9}", "{epochs: 9}", ["rungs", "iterations"]),
        ("rungs: [3, 6]", "sampler: tpee", ["sampler", "'tpe'"]),
        ("base: base.yaml", "", ["'base'"]),
        ("model.neck.out_channels:", "model.neck.out_chanels:", ["out_channels"]),
    ],
)
def test_mistakes(study_file, old, new, facts):
    with pytest.raises(SegkitError) as error:
        list_runs(study_file(SEARCH.replace(old, new)), StudyOptions())
    assert all(fact in str(error.value) for fact in facts), str(error.value)


def test_without_optuna(study_file, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"optuna: pip install 'segkit\[optuna\]'"):
        list_runs(study_file(SEARCH), StudyOptions())
