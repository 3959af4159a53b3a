"""Gradients of several processes: which are reduced, when, and what else processes exchange in a step."""

import pytest
import torch
from process_gradients import (
    connect_with_sync_norm,
    exchanges,
    gradient_of_a_part,
    other_losses,
    recomputed_weights,
    saved,
    unfrozen_later,
)
from process_runner import run_in_processes
from processes import Plain

from segkit.engine.checkpoint import read_checkpoint


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_parameters_that_a_hook_unfreezes_are_reduced_too(tmp_path):
    one = unfrozen_later(tmp_path / "one")[1]
    (before, first), (_, second) = run_in_processes(unfrozen_later, 2, tmp_path / "two")
    assert not torch.equal(first["layers.0.weight"], before["layers.0.weight"])
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        if name != "odd":
            torch.testing.assert_close(value, one[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_with_gradient_checkpointing_compilation_and_bf16(tmp_path, compiled):
    alone = recomputed_weights(tmp_path / "one", compiled)
    for found in run_in_processes(recomputed_weights, 2, tmp_path / "two", compiled, timeout=180):
        for state, expected in zip(found, alone, strict=True):
            assert state.keys() == expected.keys()
            for name, value in state.items():
                torch.testing.assert_close(value, expected[name], rtol=0.05, atol=0.02)


def test_gradients_are_reduced_with_the_last_batch(tmp_path):
    (part, whole), (other_part, other_whole) = run_in_processes(gradient_of_a_part, 2, tmp_path)
    assert not torch.equal(part, other_part) and torch.equal(whole, other_whole)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}, {"max_skipped": 1, "ema_decay": 0.9}])
def test_hosts_meet_before_the_reduction_and_once_after_it(tmp_path, settings):
    assert run_in_processes(exchanges, 2, tmp_path, settings) == [[1, 7]] * 2


@pytest.mark.parametrize("count", [2, 3])
def test_processes_may_have_different_losses(tmp_path, count):
    """A loss counts as zero in processes that lack it, as a gradient does."""
    found = run_in_processes(other_losses, count, tmp_path)
    for losses, state in found:
        assert list(losses) == ["total", "fit", "odd", "r0", "r1"] and losses == found[0][0]
        assert losses["r0"].item() == pytest.approx(1 / count) and losses["r1"].item() == pytest.approx(2 / count)
        assert losses["total"].item() == pytest.approx(sum(losses[name].item() for name in list(losses)[1:]))
        assert all(torch.equal(value, found[0][1][name]) for name, value in state.items())


def test_synced_batch_norm_on_a_cpu_is_an_error_before_the_first_step():
    assert all("sync_bn over several processes needs CUDA" in t for t in run_in_processes(connect_with_sync_norm, 2))


def test_names_in_a_checkpoint_are_those_of_one_process(tmp_path):
    run_in_processes(saved, 2, tmp_path)
    assert read_checkpoint(tmp_path / "model_final.pth")["model"].keys() == Plain().state_dict().keys()
