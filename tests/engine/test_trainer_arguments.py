"""What a Trainer refuses before its first step, and what it warns of."""

import pytest
import torch
from fakes import FakeLoader, FakeModel
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

from segkit.engine import Hook, Trainer
from segkit.engine.hooks.evaluation import Evaluation
from segkit.evaluation import CocoEvaluator
from segkit.solver import Constant, Cosine, TorchSchedule
from segkit.utils.errors import SegkitError


def trainer(folder, *, model=None, optimizer=None, schedule=None, loader=None, **settings):
    model = model or FakeModel()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    settings = {"max_iterations": 3, "iterations_per_epoch": 3, "output_dir": folder, **settings}
    return Trainer(model, optimizer, schedule or Constant(), loader or FakeLoader(), **settings)


def sgd():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


class NoList(Hook):
    pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": StepLR(sgd(), 2)}, r"torch's StepLR, .*TorchSchedule\(StepLR, \{\.\.\.\}\)"),
        ({"schedule": ReduceLROnPlateau(sgd())}, r"follows a metric"),
        ({"schedule": Cosine}, r"is the class Cosine; give an object"),
        ({"schedule": {"name": "Cosine"}}, r"expected a segkit.solver.Schedule.*not a dict"),
        ({"optimizer": sgd()}, r"none of the optimizer's parameters is the model's"),
        ({"model": torch.nn.Linear(3, 1)}, r"losses\(images, targets, generator\), not a Linear"),
        ({"hooks": [NoList]}, r"hooks\[0\] is the class NoList"),
        ({"hooks": [object()]}, r"hooks\[0\]: expected an object that derives from"),
        ({"hooks": NoList()}, r"hooks: expected a list"),
        ({"clip_norm": -1.0}, r"clip_norm: expected a number above 0"),
        ({"clip_value": 0}, r"clip_value: expected a number above 0"),
        ({"iterations_per_epoch": 0}, r"iterations_per_epoch: expected an integer of 1 or more"),
        ({"check_period": 0}, r"check_period: expected an integer of 1 or more"),
        ({"max_iterations": 2.5}, r"max_iterations: expected an integer, not 2.5"),
        ({"precision": "half"}, r"precision: expected fp32, bf16 or fp16, not 'half'"),
    ],
)
def test_arguments_that_cannot_be(tmp_path, given, message):
    with pytest.raises(SegkitError, match=message):
        trainer(tmp_path, **given)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (lambda loss: loss, r"expected a dict of scalar tensors by name, not a Tensor"),
        (lambda loss: {}, r"returns no loss"),
        (lambda loss: {"fit": loss[None]}, r"scalar tensor for 'fit', not a tensor \[1\]"),
        (lambda loss: {"fit": loss, "more": 0.5}, r"scalar tensor for 'more', not a float"),
        (lambda loss: {"fit": loss, "total": loss}, r"'total' is the name of the sum"),
        (lambda loss: {"fit": loss.detach()}, r"no loss depends on a parameter that trains"),
    ],
)
def test_losses_that_cannot_be(tmp_path, losses, message):
    model = FakeModel()
    own = model.losses
    model.losses = lambda *arguments: losses(own(*arguments)["fit"])
    with pytest.raises(SegkitError, match=message):
        trainer(tmp_path, model=model).train()


def test_a_plain_dataloader(tmp_path):
    loader = DataLoader(TensorDataset(torch.randn(8, 3), torch.randn(8, 1)), batch_size=4)
    with pytest.raises(SegkitError, match=r"loader: expected batches .* not a list, which lacks images, targets, to"):
        trainer(tmp_path, loader=loader).train()


def test_a_scheduler_in_a_hook_is_warned_about(tmp_path, caplog):
    model = FakeModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, 1, gamma=0.5)

    class Steps(Hook):
        def after_step(self, trainer):
            scheduler.step()

    trainer(tmp_path, model=model, optimizer=optimizer, hooks=[Steps()]).train()
    assert caplog.text.count("a learning rate was changed from 0.1 to 0.05 between two steps") == 1


def test_a_rate_changed_for_a_step_and_restored_is_no_false_alarm(tmp_path, caplog):
    class Doubles(Hook):
        def before_step(self, trainer):
            (group,) = trainer.optimizer.param_groups
            self.before, group["lr"] = group["lr"], 2 * group["lr"]

        def after_step(self, trainer):
            trainer.optimizer.param_groups[0]["lr"] = self.before

    schedule = TorchSchedule(StepLR, {"step_size": 1})
    trainer(tmp_path, schedule=schedule, hooks=[Doubles()]).train()
    trainer(tmp_path, schedule=Cosine()).train()
    assert "between two steps" not in caplog.text


def test_two_evaluators_of_one_metric(tmp_path):
    both, boxes, masks = (CocoEvaluator(["a"], [1], 100, iou_types=i) for i in (("bbox", "segm"), ("bbox",), ("segm",)))
    with pytest.raises(SegkitError, match=r"evaluators\[1\] \(CocoEvaluator\) .*bbox/AP, .* more"):
        Evaluation([], [both, boxes])
    Evaluation([], [boxes, masks])
