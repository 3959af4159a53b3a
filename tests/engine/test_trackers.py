"""Trackers: what they are sent, after a resume too, and what becomes of a training when they fail."""

import json
import threading

import pytest
from fakes import TIMES, lines, make_trainer
from process_runner import run_in_processes
from tracker_fakes import Recorder, Store, lines_in_process

from segkit.config import load_config
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook, Writers
from segkit.engine.hooks.trackers import base
from segkit.engine.hooks.trackers.mlflow import flat, unique_names
from segkit.registry import WRITER_REGISTRY
from segkit.utils.errors import SegkitError

CALLS = ("load", "connect", "send_line", "send_checkpoint", "send_picture", "finish")


class Draw(Hook):
    """Stands for the hook that draws."""

    def after_train(self, trainer):
        trainer.pictures = [trainer.output_dir / "a.png"]
        trainer.pictures[0].write_text("pixels")


class FailAt(Hook):
    """Ends the run as a fault would, after the writers have run."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_step(self, trainer):
        if trainer.iteration == self.iteration:
            raise OSError("fault")


def tracked(folder, tracker, *, extra=(), **settings):
    return make_trainer(folder, extra=[Draw(), *extra, Writers(3, writers=[tracker])], **settings)


def stored_lines(store, name="run0"):
    return [{"iteration": iteration, **metrics} for iteration, metrics in store.runs[name]]


def written(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_lines_configuration_checkpoints_and_pictures(tmp_path, caplog):
    store, caplog.handler.level = Store(), 0
    recorder = Recorder(store)
    trainer = tracked(tmp_path, recorder)
    trainer.train()
    assert stored_lines(store) == written(tmp_path) and len(store.runs["run0"]) == 7
    assert store.configs["run0"] == trainer.about["config"]
    best = [line["segm/AP"] for line in lines(tmp_path) if "segm/AP" in line]
    assert recorder.others[-2:] == [("pictures/a", 12, "pixels"), True]
    assert ("model_0000005.pth", 5, None, False) in recorder.others
    assert ("model_best.pth", 4, best[0], True) in recorder.others
    assert ("model_final.pth", 12, best[-1], True) in recorder.others
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("fault", CALLS)
def test_a_failing_call_changes_nothing(tmp_path, caplog, fault):
    """The training is the one without a tracker; one warning, and one line that counts what is missing."""
    make_trainer(tmp_path / "plain", extra=[Draw()]).train()
    store = Store()

    def fail():
        raise ConnectionError("refused\nby the server")

    tracked(tmp_path / "tracked", Recorder(store, fault={fault: fail})).train()
    assert lines(tmp_path / "tracked") == lines(tmp_path / "plain")
    first, *rest = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "Recorder: " in first and "(ConnectionError: refused); the training goes on" in first
    parts = {
        "send_line": "7 of 7 lines of metrics;", "send_checkpoint": " 6 of 6 checkpoints;", "send_picture": "1 of 1 pictures;",
    }  # fmt: skip
    everything = (
        "7 of 7 lines of metrics, 6 of 6 checkpoints, 1 of 1 pictures; the first error: ConnectionError: refused"
    )
    if fault in ("load", "connect"):
        assert len(rest) == 1 and everything in rest[0] and store.runs == {}
    elif fault == "finish":
        assert rest == [] and stored_lines(store) == written(tmp_path / "tracked")
    else:
        assert len(rest) == 1 and parts[fault] in rest[0] and rest[0].count(", ") == 0


@pytest.mark.parametrize("fault", CALLS[1:])
def test_a_hanging_call_is_left_alone(tmp_path, monkeypatch, caplog, fault):
    monkeypatch.setattr(base, "START_SECONDS", 0.05)
    released = threading.Event()
    try:
        tracked(tmp_path, Recorder(Store(), fault={fault: released.wait}, timeout=0.1)).train()
    finally:
        released.set()
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 3, 4, 6, 8, 9, 12]
    *first, warning = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert first == (
        ["Recorder: no answer within 0.05 s; the training begins without it"] if fault == "connect" else []
    )
    assert warning.startswith("Recorder, which did not answer within 0.1 s: ")
    missing = {
        "connect": "7 of 7 lines of metrics, 6 of 6 checkpoints, 1 of 1 pictures",
        "send_line": "7 of 7 lines of metrics, 6 of 6 checkpoints, 1 of 1 pictures",
        "send_picture": ": could not be sent: 1 of 1 pictures",
        "finish": "all was handed over",
    }
    assert missing.get(fault, "6 of 6 checkpoints, 1 of 1 pictures") in warning


def test_a_slow_tracker_does_not_fill_the_memory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(base, "START_SECONDS", 0.05)
    monkeypatch.setattr(base, "MOST_WAITING", 2)
    released = threading.Event()
    recorder = Recorder(Store(), fault={"connect": released.wait}, timeout=0.1)
    tracked(tmp_path, recorder).train()
    assert recorder._queue.qsize() == 3, "two lines and the end"
    assert "7 of 7 lines of metrics" in caplog.text
    released.set()


def test_a_server_that_comes_back_gets_everything(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(base, "RETRY_SECONDS", 0.01)
    store, failures = Store(), iter([ConnectionError("down")] * 3)

    def connect():
        for error in failures:
            raise error

    tracked(tmp_path, Recorder(store, fault={"connect": connect})).train()
    assert stored_lines(store) == written(tmp_path)
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "connecting failed (ConnectionError: down)" in warning, "said once, and nothing is missing"


@pytest.mark.parametrize("capacity", [None, 2, 0], ids=["ahead", "behind", "empty"])
def test_a_resumed_run_goes_on_in_the_same_run(tmp_path, capacity):
    """The process died after 8 steps and is resumed from 5: the tracker has lines that repeat, or lacks lines."""
    store = Store(capacity=capacity)
    with pytest.raises(OSError, match="fault"):
        tracked(tmp_path, Recorder(store), extra=[FailAt(8)]).train()
    first, store.capacity = list(store.runs["run0"]), None
    assert [iteration for iteration, _ in first] == [1, 3, 4, 6, 8][:capacity]
    state = read_checkpoint(tmp_path / "model_0000005.pth")
    tracked(tmp_path, Recorder(store), state=state).train()
    assert list(store.runs) == ["run0"] and store.runs["run0"][: len(first)] == first
    assert [{k: v for k, v in line.items() if k not in TIMES} for line in stored_lines(store)] == lines(tmp_path)


def test_a_tracker_that_is_added_on_resuming_gets_the_whole_history(tmp_path):
    make_trainer(tmp_path).train()
    store = Store()
    tracked(tmp_path, Recorder(store), state=read_checkpoint(tmp_path / "model_0000010.pth")).train()
    assert stored_lines(store) == written(tmp_path)


def test_an_interrupted_run_is_not_marked_as_finished(tmp_path):
    recorder = Recorder(Store())
    with pytest.raises(OSError, match="fault"):
        tracked(tmp_path, recorder, extra=[FailAt(7)]).train()
    assert recorder.others[-1] is False
    assert ("model_0000007.pth", 7, None, False) in recorder.others, "the checkpoint of the interruption"


def test_damaged_ids_start_a_new_run(tmp_path):
    store = Store(runs={"run0": []})
    (tmp_path / "tracked_runs.json").write_text('["x"')
    tracked(tmp_path, Recorder(store)).train()
    assert len(store.runs["run1"]) == 7
    assert json.loads((tmp_path / "tracked_runs.json").read_text()) == {"Recorder cells": "run1"}


def test_only_the_first_process_writes(tmp_path):
    first, second = run_in_processes(lines_in_process, 2, tmp_path)
    assert list(first) == ["run0"] and [iteration for iteration, _ in first["run0"]] == [1, 3]
    assert second == {} and [line["iteration"] for line in lines(tmp_path)] == [1, 3]


@pytest.mark.parametrize(("name", "extra"), [("WandB", "wandb"), ("MLflow", "mlflow"), ("Trackio", "trackio")])
def test_a_missing_package_is_an_error_before_the_training(monkeypatch, name, extra):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(
        SegkitError, match=rf"^writers\[0\].*needs the package {extra}: pip install 'segkit\[{extra}\]'"
    ):
        WRITER_REGISTRY.build({"name": name}, path="writers[0]", period=20)


def test_a_folder_of_the_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "made_up_tracker").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not base.is_installed("made_up_tracker") and base.is_installed("json")


def test_configuration():
    cfg = load_config("segkit://quickstart.yaml", ["writers=[{name: WandB, project: cells, mode: offline}]"])
    (writer,) = cfg.to_dict()["writers"]
    assert (writer["name"], writer["project"], writer["mode"]) == ("WandB", "cells", "offline")
    with pytest.raises(SegkitError, match=r"writers\.0\.name.*'WanDB'; did you mean 'WandB'"):
        load_config("segkit://quickstart.yaml", ["writers=[{name: WanDB}]"])
    with pytest.raises(SegkitError, match=r"writers\.0.*'projekt'.*did you mean 'project'"):
        load_config("segkit://quickstart.yaml", ["writers=[{name: WandB, projekt: cells}]"])
    with pytest.raises(SegkitError, match=r"writers\.0\.mode.*'ofline'.*did you mean 'offline'"):
        load_config("segkit://quickstart.yaml", ["writers=[{name: WandB, mode: ofline}]"])


def test_names_for_mlflow():
    assert unique_names(["segm/AP-a b", "segm/AP-a(b", "segm/AP-a)b", "é"]) == {
        "segm/AP-a b": "segm/AP-a b", "segm/AP-a(b": "segm/AP-a_b", "segm/AP-a)b": "segm/AP-a_b_2", "é": "_",
    }  # fmt: skip
    assert flat({"a": {"b": 1, "c": [1, 2]}, "hooks": [{"name": "x"}], "empty": {}}) == {
        "a.b": 1, "a.c": [1, 2], "hooks.0.name": "x", "empty": {},
    }  # fmt: skip
