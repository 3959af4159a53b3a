"""Several processes of which one gets a signal or dies: all end after the same step, and the run is saved."""

import functools
import os
import signal

import process_signals
import pytest
from process_runner import run_in_processes

from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_ends_all_after_the_same_step(tmp_path, number):
    found = run_in_processes(process_signals.act, 2, tmp_path, functools.partial(signal.raise_signal, number))
    assert found == [("RunInterrupted", "SIGTERM", 3)] * 2
    assert read_checkpoint(tmp_path / "model_0000003.pth")["iteration"] == 3


def test_a_signal_to_one_between_its_steps(tmp_path):
    found = run_in_processes(process_signals.signal_between_steps, 2, tmp_path)
    assert found == [("RunInterrupted", "SIGTERM", 3)] * 2
    assert read_checkpoint(tmp_path / "model_0000003.pth")["iteration"] == 3


def test_a_signal_to_all_while_the_first_evaluates(tmp_path):
    """Both were interrupted; that the first one is gone is no error of the second's."""
    found = run_in_processes(process_signals.interrupt_evaluation, 2, tmp_path)
    assert found == ["RunInterrupted: SIGTERM"] * 2
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == 2


def test_a_process_that_dies_ends_the_others_saved(tmp_path):
    found = run_in_processes(process_signals.act, 2, tmp_path, functools.partial(os._exit, 3), timeout=30)
    assert found[1] is None and "another process of this run has ended" in found[0]
    assert read_checkpoint(tmp_path / "model_0000002.pth")["iteration"] == 2


@pytest.mark.parametrize("model", [process_signals.Act, process_signals.ActInBackward])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}])  # the third batch is then the first of the second step
def test_a_process_that_fails_ends_the_others_saved(tmp_path, model, settings):
    action = process_signals.raise_error
    first, failed = run_in_processes(process_signals.fail, 2, tmp_path, model, action, settings, timeout=30)
    assert failed == "RuntimeError: mistake in the model"
    assert first.startswith("PeerLost: ") and "its own message says why" in first
    reached = 1 if settings else 2
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == reached


def test_a_process_that_dies_in_its_backward_pass(tmp_path):
    action = functools.partial(os._exit, 3)
    found = run_in_processes(process_signals.fail, 2, tmp_path, process_signals.ActInBackward, action, {}, timeout=30)
    assert found[1] is None and found[0].startswith("PeerLost: ")
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == 2


def test_the_first_process_dies(tmp_path):
    found = run_in_processes(process_signals.act, 3, tmp_path, functools.partial(os._exit, 3), 0, timeout=30)
    assert found[0] is None and all("another process of this run has ended" in one for one in found[1:])
    assert not list(tmp_path.glob("*.pth")), "none but the first one writes"
