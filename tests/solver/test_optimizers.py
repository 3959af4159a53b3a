import pytest
import torch
from torch import nn

from segkit.registry import OPTIMIZER_REGISTRY
from segkit.solver import parameter_groups
from segkit.utils.errors import SegkitError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm(4)
        self.layer_scale = nn.Parameter(torch.ones(4, 1, 1))
        self.table = nn.Parameter(torch.ones(2, 4))
        self.one_out = nn.Linear(4, 1)
        self.tied = self.one_out


def names(model, group):
    of = {id(p): n for n, p in model.named_parameters()}
    return sorted(of[id(p)] for p in group["params"])


def test_all_decay_by_default_each_once():
    model = Net()
    (group,) = parameter_groups(model, weight_decay=0.1)
    assert group["weight_decay"] == 0.1
    assert names(model, group) == sorted(n for n, _ in model.named_parameters())


def test_norms_biases_and_scales_without_decay():
    model = Net()
    decayed, kept = parameter_groups(model, weight_decay=0.1, decay_norms_and_biases=False)
    assert names(model, decayed) == ["conv.weight", "one_out.weight", "table"]
    assert names(model, kept) == [
        "conv.bias", "layer_norm.bias", "layer_norm.weight", "layer_scale", "norm.bias", "norm.weight", "one_out.bias",
    ]  # fmt: skip
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_in_no_group():
    model = Net()
    model.conv.requires_grad_(False)
    groups = parameter_groups(model, weight_decay=0.1, decay_norms_and_biases=False)
    assert all("conv" not in name for group in groups for name in names(model, group))
    model.requires_grad_(False)
    with pytest.raises(SegkitError, match=r"frozen"):
        parameter_groups(model, weight_decay=0.1)


@pytest.mark.parametrize("name", OPTIMIZER_REGISTRY.names())
def test_every_optimizer_learns(name):
    model = nn.Linear(3, 1)
    optimizer = OPTIMIZER_REGISTRY.build({"name": name, "lr": 0.05}, model=model, params=list(model.parameters()))
    x = torch.randn(32, 3)
    y = x.sum(1, keepdim=True)
    first = nn.functional.mse_loss(model(x), y).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_without_decay_parameters_without_gradient_stay(name):
    model = Net()
    optimizer = OPTIMIZER_REGISTRY.build(
        {"name": name, "lr": 0.1, "weight_decay": 0.5, "decay_norms_and_biases": False}, model=model
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"conv.weight", "one_out.weight", "table"}


def test_a_negative_learning_rate_is_an_error():
    with pytest.raises(SegkitError, match=r"solver.optimizer.*-1"):
        OPTIMIZER_REGISTRY.build({"name": "SGD", "lr": -1.0}, path="solver.optimizer", model=nn.Linear(1, 1))
