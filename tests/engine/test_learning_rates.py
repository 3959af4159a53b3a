"""Every step uses the schedule's rates, with any hooks and in repeated trainings."""

import logging

import pytest
import torch
from fakes import FakeBatch, FakeLoader, FakeModel, lines, make_trainer

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook
from segkit.engine.train_state import restore
from segkit.engine.trainer import Trainer
from segkit.solver.schedules import Constant, Cosine, MultiStep
from segkit.utils.errors import SegkitError

SCHEDULES = {
    "cosine": Cosine(end_lr=0.001),
    "cosine by epochs": Cosine(step="epoch"),
    "steps": MultiStep(milestones=(2, 4), gamma=0.1),
    "warm-up": Constant(warmup_iterations=4, warmup_factor=0.1),
    "steps after a warm-up": MultiStep(milestones=(0.5,), warmup_iterations=2),
}
# Worked out by hand for a base rate of 0.1 over 6 iterations, 2 an epoch.
C = [1.0, 0.9330127018922194, 0.75, 0.5, 0.25, 0.0669872981077807]  # (1 + cos(pi i / 6)) / 2
EXPECTED = {
    "cosine": [0.001 + 0.099 * c for c in C],
    "cosine by epochs": [0.1, 0.1, 0.075, 0.075, 0.025, 0.025],
    "steps": [0.1, 0.1, 0.01, 0.01, 0.001, 0.001],
    "warm-up": [0.01, 0.0325, 0.055, 0.0775, 0.1, 0.1],
    "steps after a warm-up": [0.0001, 0.05005, 0.1, 0.01, 0.01, 0.01],
}


class Rates(Hook):
    """Notes the rates with which the steps are taken."""

    def __init__(self):
        self.seen = []

    def after_step(self, trainer):
        self.seen.append(trainer.optimizer.param_groups[0]["lr"])


def bare(tmp_path, schedule, *, iterations=6, hooks=(), model=None, optimizer=None, loader=None, **settings):
    """A trainer without the default hooks."""
    model = model or FakeModel()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(
        model, optimizer, schedule, loader or FakeLoader(), max_iterations=iterations, iterations_per_epoch=2,
        output_dir=tmp_path, hooks=hooks, **settings,
    )  # fmt: skip


def noted(trainer):
    """The rates of the optimizer's steps, without the help of a hook."""
    seen, step = [], trainer.optimizer.step
    trainer.optimizer.step = lambda *args: (seen.append(trainer.optimizer.param_groups[0]["lr"]), step(*args))
    return seen


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_trainer_follows_its_schedule_without_any_hook(tmp_path, name):
    trainer = bare(tmp_path, SCHEDULES[name])
    seen = noted(trainer)
    trainer.train()
    assert seen == pytest.approx(EXPECTED[name])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_new_trainer_with_the_same_optimizer_starts_from_its_base_rates(tmp_path, name):
    model = FakeModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        rates = Rates()
        bare(tmp_path, SCHEDULES[name], hooks=[rates], model=model, optimizer=optimizer).train()
        assert rates.seen == pytest.approx(EXPECTED[name])


@pytest.mark.parametrize("times", [[2, 6], [1, 2, 3, 6], [5, 6]])
def test_training_on_with_more_iterations(tmp_path, times):
    """Each training follows the schedule of its own length, from the same base rate."""
    rates, expected = Rates(), []
    trainer = bare(tmp_path, Cosine(), hooks=[rates])
    for start, end in zip([0, *times], times, strict=False):
        trainer.max_iterations = end
        trainer.train()
        expected += [0.1 * Cosine().factor(i, end, 2, 0.1) for i in range(start, end)]
    assert rates.seen == pytest.approx(expected) and trainer.iteration == 6


def test_after_an_exception_training_goes_on_from_the_base_rate(tmp_path):
    class Once(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 3 and not hasattr(self, "done"):
                self.done = True
                raise RuntimeError

    rates = Rates()
    trainer = bare(tmp_path, SCHEDULES["cosine"], hooks=[rates, Once()])
    with pytest.raises(RuntimeError):
        trainer.train()
    trainer.train()
    assert rates.seen == pytest.approx(EXPECTED["cosine"])


def test_a_rate_that_is_set_between_two_trainings_is_obeyed(tmp_path):
    rates = Rates()
    trainer = bare(tmp_path, SCHEDULES["steps"], hooks=[rates])
    trainer.train()
    trainer.optimizer.param_groups[0]["lr"] = 0.5
    trainer.iteration = 0
    trainer.train()
    assert rates.seen[6:] == pytest.approx([5 * rate for rate in EXPECTED["steps"]])


@pytest.mark.parametrize("restored", ["by segkit", "by torch"])
def test_resumed_from_a_checkpoint_of_decayed_rates(tmp_path, restored):
    make_trainer(tmp_path, iterations=12, checkpoint_period=10, val_loader=None, extra=[]).train()
    state = read_checkpoint(tmp_path / "model_0000010.pth")
    assert state["optimizer"]["param_groups"][0]["lr"] < 0.04
    rates = Rates()
    trainer = make_trainer(tmp_path, iterations=12, val_loader=None, extra=[rates])
    if restored == "by segkit":
        restore(trainer, state)
    else:
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.iteration = 10
    trainer.train()
    assert rates.seen == pytest.approx([0.05 * trainer.schedule.factor(i, 12, 4, 0.05) for i in (10, 11)])


def test_a_resumed_run_obeys_the_rate_of_its_own_optimizer(tmp_path):
    make_trainer(tmp_path, iterations=6, val_loader=None).train()
    rates = Rates()
    trainer = make_trainer(tmp_path, iterations=8, val_loader=None, extra=[rates])
    trainer.optimizer.param_groups[0]["lr"] = 0.2
    restore(trainer, read_checkpoint(tmp_path / "model_final.pth"))
    trainer.train()
    assert rates.seen == pytest.approx([0.2 * trainer.schedule.factor(i, 8, 4, 0.2) for i in (6, 7)])


def test_groups_of_their_own_rates_and_one_that_is_added(tmp_path):
    class Unfreeze(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 3:
                trainer.optimizer.add_param_group({"params": [trainer.model.layers[3].weight], "lr": 0.4})

    class All(Rates):
        def after_step(self, trainer):
            self.seen.append([group["lr"] for group in trainer.optimizer.param_groups])

    model, rates = FakeModel(), All()
    groups = [
        {"params": [model.layers[0].weight], "lr": 0.1},
        {"params": [model.layers[0].bias], "lr": 0.02, "lr_factor": 0.2},
        {"params": [model.layers[3].bias], "lr": 0.0, "lr_factor": 0.0},
    ]
    trainer = bare(
        tmp_path, SCHEDULES["steps"], hooks=[Unfreeze(), rates], model=model, optimizer=torch.optim.SGD(groups, lr=1.0)
    )
    trainer.train()
    for i, (row, rate) in enumerate(zip(rates.seen, EXPECTED["steps"], strict=True)):
        added = [] if i < 3 else [0.4] if i == 3 else [4 * rate]
        assert row == pytest.approx([rate, 0.2 * rate, 0.0, *added])


def test_the_warm_up_counts_steps_and_the_rest_shifted_epochs(tmp_path):
    rates = Rates()
    schedule = MultiStep(milestones=(5, 8), warmup_iterations=2, warmup_factor=0.5)
    bare(tmp_path, schedule, hooks=[rates], epoch_shift=4).train()
    assert rates.seen == pytest.approx([0.05, 0.0075, 0.01, 0.01, 0.001, 0.001])


def test_a_hook_may_change_the_rate_of_a_step(tmp_path):
    class Half(Hook):
        def before_step(self, trainer):
            trainer.optimizer.param_groups[0]["lr"] *= 0.5

    rates = Rates()
    bare(tmp_path, SCHEDULES["steps"], hooks=[Half(), rates]).train()
    assert rates.seen == pytest.approx([rate / 2 for rate in EXPECTED["steps"]])


def test_a_rate_in_a_tensor_stays_that_tensor(tmp_path):
    model = FakeModel()
    rate = torch.tensor(0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, foreach=False)
    trainer = bare(tmp_path, SCHEDULES["steps"], model=model, optimizer=optimizer)
    trainer.train()
    assert optimizer.param_groups[0]["lr"] is rate and rate.item() == pytest.approx(0.001)


def test_a_single_step_without_train(tmp_path):
    trainer = bare(tmp_path, SCHEDULES["warm-up"])
    seen = noted(trainer)
    batches = iter(FakeLoader())
    for _ in range(3):
        trainer.run_step([next(batches)])
    assert seen == pytest.approx(EXPECTED["warm-up"][:3])


def test_the_rate_is_logged_without_a_hook_for_it(tmp_path):
    trainer = make_trainer(tmp_path, iterations=3, log_period=1, val_loader=None)
    trainer.train()
    expected = [0.05 * trainer.schedule.factor(i, 3, 4, 0.05) for i in range(3)]
    assert [line["lr"] for line in lines(tmp_path)] == pytest.approx(expected)


class Seekable(FakeLoader):
    def start_at(self, iteration):
        self.start_iteration = iteration


def test_a_second_training_goes_on_with_the_data(tmp_path):
    """And not with the batches of the first one."""

    class Watch(FakeModel):
        seen = ()

        def losses(self, images, targets, generator):
            self.seen = (*self.seen, images.sum().item())
            return super().losses(images, targets, generator)

    whole, parts = Watch(), Watch()
    bare(tmp_path, Constant(), model=whole, loader=Seekable()).train()
    trainer = bare(tmp_path, Constant(), model=parts, loader=Seekable())
    for trainer.max_iterations in (2, 3, 6):
        trainer.train()
    assert parts.seen == whole.seen and len(set(whole.seen)) == 6


def test_training_on_after_a_stop(tmp_path, caplog):
    class Stop(Hook):
        def after_step(self, trainer):
            if trainer.iteration == 2:
                trainer.stop()

    trainer = bare(tmp_path, Constant(), hooks=[Stop()])
    trainer.train()
    assert trainer.iteration == 2 and "nothing to train" not in caplog.text
    trainer.train()
    assert trainer.iteration == 6
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.iteration == 6 and "nothing to train: 6 of 6 iterations are done" in caplog.text


@pytest.mark.parametrize("batches", [0, 3])
def test_a_loader_that_ends_is_an_error(tmp_path, batches):
    images = torch.randn(4, 3)
    loader = [FakeBatch(images, images.sum(1, keepdim=True))] * batches
    with pytest.raises(SegkitError, match=rf"ended before iteration {batches + 1} of 6 had its 1 batches; .* endless"):
        bare(tmp_path, Constant(), loader=loader if batches else iter(())).train()
