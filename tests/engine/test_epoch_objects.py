"""Epochs without objects to train on are a warning, with any loader."""

import pytest
import torch

from segkit.engine.step_batches import EpochObjects, count_objects
from segkit.engine.trainer import Trainer
from segkit.solver.schedules import Constant
from segkit.structures import Batch, Sample, Targets


def targets(count, crowds=0):
    crowd = torch.arange(count) < crowds
    return Targets(torch.tensor([[1.0, 1, 5, 5]]).expand(count, 4), torch.zeros(count, dtype=torch.long), None, crowd)


def batch(*all_targets):
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    return Batch([Sample(image, one, i, f"{i}", (8, 8)) for i, one in enumerate(all_targets)])


def test_objects_of_batches_are_counted():
    assert count_objects([batch(targets(3), targets(2, crowds=2)), batch(targets(4, crowds=1))]) == 6
    assert count_objects([batch(Targets.empty((8, 8)))]) == 0
    assert count_objects([object()]) == 1  # the objects of another kind of batch are unknown


@pytest.mark.parametrize(
    ("counts", "warnings"),
    [([0, 0, 0], 1), ([0, 0], 0), ([0, 0, 1], 0), ([1, 0, 0, 0, 0, 0], 1), ([0] * 9, 1), ([1, 1, 1, 0, 0], 0)],
)
def test_an_epoch_without_objects_is_one_warning(caplog, counts, warnings):
    objects = EpochObjects(3)
    for count in counts:
        objects.add(count)
    assert caplog.text.count("an epoch of 3 steps had no object to train on") == warnings


def test_a_trainer_with_a_loader_of_ones_own(tmp_path, caplog):
    class Loader:
        def __init__(self, made):
            self.made = made

        def __iter__(self):
            while True:
                yield self.made

    class Model(torch.nn.Linear):
        def losses(self, images, all_targets, generator):
            return {"fit": self.weight.square().sum()}

    for made, warned in ((batch(targets(2, crowds=2)), True), (batch(targets(2, crowds=1)), False)):
        caplog.clear()
        model = Model(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        settings = {"max_iterations": 2, "iterations_per_epoch": 2, "output_dir": tmp_path}
        Trainer(model, optimizer, Constant(), Loader(made), **settings).train()
        assert ("had no object to train on" in caplog.text) == warned
