"""Studies of stand-ins: order, failures, changes, signals, kills."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from fakes_study import starts

from segkit.study.executors.local import LocalExecutor
from segkit.study.locks import STUDY_LOCK, lock_study, locked
from segkit.study.run import StudyOptions, list_runs, run_study, write_tables
from segkit.utils.errors import RunInterrupted, SegkitError

TABLES = ("study.md", "study.csv", "study.tex")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX")


def contents(folder: str) -> list[str]:
    return [Path(folder, name).read_text() for name in TABLES]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """No plots and no report, which have tests of their own."""
    for name in ("plot_tables", "plot_curves"):
        monkeypatch.setattr(f"segkit.study.outcome.{name}", lambda *args: [])
    monkeypatch.setattr("segkit.study.outcome.write_study_report", lambda *args: [])
    monkeypatch.setattr("segkit.study.scheduler.POLL", 0.01)


def in_a_fork(file: str, options: StudyOptions | None = None) -> int:
    """Starts a study in a process group of its own; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        status = 1 if run_study(file, options) else 0
    except RunInterrupted:
        status = 75
    finally:
        os._exit(status)


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_finished_study_starts_nothing(study_file, fake_runs):
    file = study_file()
    assert run_study(file, StudyOptions(jobs=2)) == {}
    first = contents("out")
    assert ("| Narrow | 2 | " in first[0] and "better" in first[0]) or "No difference shown" in first[0]
    assert run_study(file) == {}
    assert contents("out") == first
    assert all(starts(path.parent) == [0] for path in Path("out").glob("*/*/starts.txt"))
    assert len(list(Path("out").glob("*/*/finished.json"))) == 6
    assert "6 runs in out, 6 finished" in list_runs(file, StudyOptions())


def test_a_failing_run_does_not_stop_the_others(study_file, fake_runs):
    file = study_file(**{"model.neck.out_channels: 24": "data.test_batch_size: 7"})
    failures = run_study(file, StudyOptions(jobs=3))
    assert sorted(failures) == [f"{name} seed {seed}" for name in ("strict", "wide") for seed in (0, 1)]
    assert "error: planted" in failures["wide seed 0"] and "console.txt" in failures["wide seed 0"]
    assert "is not finished" in failures["strict seed 1"]
    text = contents("out")[0]
    assert "Not finished: Wide (0 of 2 seeds)." in text and "wide seed 0: exit status 1: error: planted" in text
    study_file()  # the cause is removed: what had failed is a run of another configuration
    with pytest.raises(SegkitError, match=r"another configuration:\n.*wide seed 0: model.neck.out_channels"):
        run_study(file)
    assert run_study(file, StudyOptions(restart_changed=True)) == {}
    assert starts(Path("out/narrow/seed_0")) == starts(Path("out/wide/seed_0")) == [0]
    assert Path("out/wide/seed_0_previous_1/console.txt").is_file()


def test_changed_runs_are_refused_or_start_anew(study_file, fake_runs):
    file = study_file()
    run_study(file, StudyOptions(jobs=2))
    first = contents("out")[1].splitlines()
    run_study(file, StudyOptions(overrides=("data.num_workers=1",)))  # without an effect on the result
    study_file(**{"model.neck.out_channels: 24": "model.neck.out_channels: 25"})
    with pytest.raises(SegkitError) as error:
        run_study(file)
    assert (
        "4 runs" in str(error.value) and "strict seed 1" in str(error.value) and "--restart-changed" in str(error.value)
    )
    assert contents("out")[1].splitlines() == first
    run_study(file, StudyOptions(restart_changed=True, jobs=2))
    second = contents("out")[1].splitlines()
    assert first[1] == second[1] and first[2] != second[2]
    assert starts(Path("out/narrow/seed_1")) == [0]


def test_only_and_new_seeds(study_file, fake_runs):
    file = study_file()
    run_study(file, StudyOptions(only=("strict",), seeds=(0,)))
    assert sorted(path.parent.parent.name for path in Path("out").glob("*/*/finished.json")) == ["strict", "wide"]
    write_tables(file, StudyOptions())
    assert "Not finished: Narrow (0 of 2 seeds), Wide (1 of 2 seeds)." in contents("out")[0]
    with pytest.raises(SegkitError, match=r"no run 'wyde'.*'wide'"):
        run_study(file, StudyOptions(only=("wyde",)))


def test_an_evaluation_is_made_again_with_its_model(study_file, fake_runs):
    """Even if the training alone was asked for: its old result belongs to the old model."""
    file = study_file(**{"seeds: [0, 1]": "seeds: [0]"})
    run_study(file, StudyOptions(only=("strict",)))
    study_file(**{"seeds: [0, 1]": "seeds: [0]", "model.neck.out_channels: 24": "model.neck.out_channels: 25"})
    run_study(file, StudyOptions(only=("wide",), restart_changed=True))
    assert Path("out/strict/seed_0_previous_1/finished.json").is_file() and not Path("out/strict/seed_0").exists()


def test_a_system_without_locks(study_file, fake_runs, monkeypatch):
    monkeypatch.setattr("segkit.study.locks.fcntl", None)
    file = study_file()
    with pytest.raises(SegkitError, match="start it in WSL"):
        run_study(file)
    write_tables(file, StudyOptions())
    assert "6 runs in out, 0 finished" in list_runs(file, StudyOptions())


def test_two_studies_of_one_folder(study_file, fake_runs):
    with (
        lock_study(Path("out")),
        pytest.raises(SegkitError, match=f"in use by another study .process {os.getpid()} on"),
    ):
        run_study(study_file())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_runs_save(study_file, fake_runs, number):
    file = study_file(**{"{iterations: 6}": "{iterations: 40}"})
    pid = in_a_fork(file, StudyOptions(jobs=2))
    until(lambda: len(list(Path("out").glob("*/*/metrics.json"))) == 2)
    os.kill(pid, number)
    assert status_of(pid) == 75
    folders = [path.parent for path in Path("out").glob("*/*/starts.txt")]
    assert len(folders) == 2 and not any(locked(folder / STUDY_LOCK) for folder in folders)
    assert run_study(file, StudyOptions(jobs=2)) == {}
    assert all(len(starts(folder)) == 2 and starts(folder)[1] > 0 for folder in folders)


def test_a_second_signal_kills(study_file, fake_runs, monkeypatch):
    monkeypatch.setattr("segkit.study.executors.local.LocalProcess.stop", lambda self: None)
    file = study_file(**{"{iterations: 6}": "{iterations: 4000}"})
    pid = in_a_fork(file)
    until(lambda: list(Path("out").glob("*/*/metrics.json")))
    os.kill(pid, signal.SIGTERM)
    until(lambda: "a second signal kills" in Path("out/log.txt").read_text())
    os.kill(pid, signal.SIGTERM)
    assert status_of(pid) == 75


def test_killed_studies_end_with_the_same_tables(study_file, fake_runs):
    """The small form of ``tests/faults/kill_study.py``: the study alone is killed, or its runs with it."""
    file = study_file()
    run_study(file, StudyOptions(jobs=2))
    whole = contents("out")
    draw, kills, repeats = random.Random(0), 0, 0
    killed = StudyOptions(output="killed", jobs=2)
    while True:
        finished = {path.parent: starts(path.parent) for path in Path("killed").glob("*/*/finished.json")}
        pid = in_a_fork(file, killed)
        if kills < 4:
            until(lambda: any(Path("killed").glob("*/*/metrics.json")))
            time.sleep(draw.random() * 0.25)
            with_runs = kills % 2 == 0
            os.kill(pid, signal.SIGKILL)
            if with_runs:
                for path in Path("killed").glob("*/*/starts.txt"):
                    _kill_orphan(path.parent)
        status = status_of(pid)
        repeats += any(starts(folder) != before for folder, before in finished.items())
        if status == 0:
            break
        kills += 1
    assert kills >= 2 and repeats == 0
    assert contents("killed") == whole
    lines = [len(path.read_text().splitlines()) for path in Path("killed").glob("*/*/metrics.json")]
    assert sorted(lines) == [1, 1, 6, 6, 6, 6]  # no iteration twice


def _kill_orphan(folder: Path) -> None:
    """Kills the process that holds the lock of a run's folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"fake_run.py" in command and str(folder.absolute()).encode() in command:
            os.kill(int(process.name), signal.SIGKILL)


def test_gpus_are_divided(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    executor = LocalExecutor()
    assert executor.slots == 2 and executor.devices == ["2", "5"]
    assert executor._free_device() == "2"


def test_the_environment_of_jobs(tmp_path, monkeypatch):
    from segkit.study.executors.base import Job

    monkeypatch.setattr("segkit.study.executors.local.visible_gpus", lambda: ["2", "5"])
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    executor = LocalExecutor(jobs=3)
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    jobs = [
        Job(f"j{i}", (sys.executable, "-c", "input() if 0 else None; " + code), tmp_path / f"j{i}", tmp_path)
        for i in range(3)
    ]
    processes = [executor.start(job) for job in jobs]
    for process in processes:
        until(lambda process=process: process.poll() is not None)
    seen = sorted(job.console.read_text().split()[0] for job in jobs)
    assert set(seen) <= {"2", "5"} and all(job.console.read_text().split()[1] == "4" for job in jobs)
