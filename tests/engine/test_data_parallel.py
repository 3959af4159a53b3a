"""Gradients of several processes: which are reduced, when, and what else processes exchange in a step."""

import pytest
import torch
from fakes import FakeModel
from process_runner import run_in_processes
from processes import Plain, a_trainer
from torch import nn

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.data_parallel import ParallelModel
from segkit.engine.hooks import Hook
from segkit.modeling.layers.recompute import recomputed
from segkit.utils import distributed


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


class Freezing(Hook):
    """Trains the last layer alone until the third step."""

    def before_step(self, trainer):
        trainer.model.layers[0].requires_grad_(trainer.iteration >= 2)


def unfrozen_later(folder):
    trainer = a_trainer(folder, model=Plain(), val=False, iterations=5, extra=[Freezing()], clip_norm=None)
    before = weights(trainer)
    trainer.train()
    return before, weights(trainer)


def test_parameters_that_a_hook_unfreezes_are_reduced_too(tmp_path):
    one = unfrozen_later(tmp_path / "one")[1]
    (before, first), (_, second) = run_in_processes(unfrozen_later, 2, tmp_path / "two")
    assert not torch.equal(first["layers.0.weight"], before["layers.0.weight"])
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        if name != "odd":
            torch.testing.assert_close(value, one[name], rtol=1e-5, atol=1e-6)


class Recomputed(Plain):
    """Its layers run again in the backward pass, and the first two are compiled."""

    def losses(self, images, targets, generator):
        found = recomputed(self.layers, images, [self.layers])
        return {"fit": (found - targets).square().mean(), "odd": self.odd.square().sum()}


def recomputed_weights(folder, compiled):
    model = Recomputed()
    if compiled:
        model.layers[0].compile(backend="eager")
    trainer = a_trainer(folder, model=model, val=False, iterations=3, accumulate=2, ema_decay=0.5, precision="bf16")
    trainer.train()
    return weights(trainer), trainer.ema.model_state()


@pytest.mark.parametrize("compiled", [False, True])
def test_with_gradient_checkpointing_compilation_and_bf16(tmp_path, compiled):
    alone = recomputed_weights(tmp_path / "one", compiled)
    for found in run_in_processes(recomputed_weights, 2, tmp_path / "two", compiled, timeout=180):
        for state, expected in zip(found, alone, strict=True):
            assert state.keys() == expected.keys()
            for name, value in state.items():
                torch.testing.assert_close(value, expected[name], rtol=0.05, atol=0.02)


def gradient_of_a_part(folder):
    """The gradients after the first of two batches, and after both."""
    trainer = a_trainer(folder, model=Plain(), val=False, accumulate=2)
    trainer.parallel.connect()
    found = []
    for part, batch in zip(range(2), trainer.loader, strict=False):
        with trainer.parallel.batch(last=part == 1):
            sum(trainer.batch_losses(batch, 0, part).values()).backward()
        found.append(trainer.model.layers[0].weight.grad.clone())
    return found


def test_gradients_are_reduced_with_the_last_batch(tmp_path):
    (part, whole), (other_part, other_whole) = run_in_processes(gradient_of_a_part, 2, tmp_path)
    assert not torch.equal(part, other_part) and torch.equal(whole, other_whole)


def exchanges(folder, settings):
    """What the hosts sum up in the last step."""
    seen, sums = [], distributed.sum_integers

    class Clear(Hook):
        def before_step(self, trainer):
            seen.clear()

    def counting(integers):
        seen.append(len(integers))
        return sums(integers)

    distributed.sum_integers = counting
    trainer = a_trainer(folder, model=Plain(), val=False, iterations=2, extra=[Clear()], **settings)
    trainer.train()
    return list(seen)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}, {"max_skipped": 1, "ema_decay": 0.9}])
def test_hosts_meet_before_the_reduction_and_once_after_it(tmp_path, settings):
    assert run_in_processes(exchanges, 2, tmp_path, settings) == [[1, 7]] * 2


class OtherLosses(Plain):
    """Each process has a loss that the others lack: rank 0 ``r0`` = 1, rank 1 ``r1`` = 2, in another order."""

    def losses(self, images, targets, generator):
        losses = super().losses(images, targets, generator)
        rank = distributed.rank()
        own = {f"r{rank}": torch.tensor(rank + 1.0)} if rank < 2 else {}
        return {**own, **losses} if rank == 1 else {**losses, **own}


def other_losses(folder):
    trainer = a_trainer(folder, model=OtherLosses(), val=False, iterations=2)
    trainer.train()
    return trainer.losses, weights(trainer)


@pytest.mark.parametrize("count", [2, 3])
def test_processes_may_have_different_losses(tmp_path, count):
    """A loss counts as zero in processes that lack it, as a gradient does."""
    found = run_in_processes(other_losses, count, tmp_path)
    for losses, state in found:
        assert list(losses) == ["total", "fit", "odd", "r0", "r1"] and losses == found[0][0]
        assert losses["r0"].item() == pytest.approx(1 / count) and losses["r1"].item() == pytest.approx(2 / count)
        assert losses["total"].item() == pytest.approx(sum(losses[name].item() for name in list(losses)[1:]))
        assert all(torch.equal(value, found[0][1][name]) for name, value in state.items())


class WithNorm(FakeModel):
    def __init__(self):
        super().__init__()
        self.layers.append(nn.SyncBatchNorm(1))


def connect_with_sync_norm():
    ParallelModel(WithNorm()).connect()


def test_synced_batch_norm_on_a_cpu_is_an_error_before_the_first_step():
    assert all("sync_bn over several processes needs CUDA" in t for t in run_in_processes(connect_with_sync_norm, 2))


def saved(folder):
    a_trainer(folder, model=Plain(), val=False, iterations=2).train()


def test_names_in_a_checkpoint_are_those_of_one_process(tmp_path):
    run_in_processes(saved, 2, tmp_path)
    assert read_checkpoint(tmp_path / "model_final.pth")["model"].keys() == Plain().state_dict().keys()
