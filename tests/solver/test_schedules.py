import pytest
import torch

from segkit.registry import SCHEDULE_REGISTRY
from segkit.solver.schedules import Constant, Cosine, MultiStep
from segkit.utils.errors import SegkitError


def rates(schedule, total, per_epoch, lr):
    return [lr * schedule.factor(i, total, per_epoch, lr) for i in range(total)]


def torch_rates(make, count, lr):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    seen = []
    for _ in range(count):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_cosine_by_epoch_is_torchs_stepped_each_epoch():
    per_epoch = 7
    ours = rates(Cosine(end_lr=1e-6, step="epoch"), 20 * per_epoch, per_epoch, 1e-4)
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=20, eta_min=1e-6), 20, 1e-4)
    assert ours == pytest.approx([lr for lr in theirs for _ in range(per_epoch)], rel=1e-9)


def test_cosine_by_iteration_is_torchs():
    ours = rates(Cosine(end_lr=1e-5), 50, 10, 1e-2)
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=50, eta_min=1e-5), 50, 1e-2)
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_cosine_ends_at_the_floor_and_stays_there():
    schedule = Cosine(end_lr=1e-6)
    assert 1e-4 * schedule.factor(100, 100, 10, 1e-4) == pytest.approx(1e-6)
    assert 1e-4 * schedule.factor(130, 100, 10, 1e-4) == pytest.approx(1e-6)


@pytest.mark.parametrize("milestones", [(30, 40), (0.6, 0.8), (0.6, 40)])
def test_multi_step_is_torchs(milestones):
    ours = rates(MultiStep(milestones=milestones, gamma=0.1), 50, 10, 0.02)
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [30, 40], gamma=0.1), 50, 0.02)
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("name", SCHEDULE_REGISTRY.names())
def test_warm_up_multiplies_a_rising_line(name):
    plain = SCHEDULE_REGISTRY.build({"name": name})
    warm = SCHEDULE_REGISTRY.build({"name": name, "warmup_iterations": 10, "warmup_factor": 0.1})
    for i in range(40):
        line = 0.1 + 0.9 * i / 10 if i < 10 else 1.0
        assert warm.factor(i, 40, 8, 0.1) == pytest.approx(line * plain.factor(i, 40, 8, 0.1))
    assert plain.factor(0, 40, 8, 0.1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(warmup_iterations=-1),
        lambda: Constant(warmup_factor=2),
        lambda: MultiStep(milestones=[0.5, 30.5]),
        lambda: MultiStep(milestones=[0]),
        lambda: MultiStep(gamma=0),
        lambda: Cosine(end_lr=-1),
        lambda: Cosine(step="year"),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(ValueError):
        make()


def test_mistakes_that_show_during_the_run():
    with pytest.raises(SegkitError, match=r"end_lr 0.01 is above"):
        Cosine(end_lr=1e-2).factor(0, 10, 5, 1e-3)
    with pytest.raises(SegkitError, match=r"do not ascend"):
        MultiStep(milestones=[0.9, 5]).factor(0, 100, 10, 0.1)


def test_end_lr_may_equal_the_rate_for_any_factor_of_the_group():
    rounded = [1e-4 * (images / 16) / (images / 16) for images in range(1, 129)]
    assert min(rounded) < 1e-4
    assert all(Cosine(end_lr=1e-4).factor(5, 10, 5, lr) == pytest.approx(1) for lr in rounded)
