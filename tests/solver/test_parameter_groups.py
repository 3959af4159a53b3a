"""Rules for some of the parameters: which they match, how groups are split, how a saved state is reordered."""

import pytest
import torch
from torch import nn

from segkit.config.parameter_rule import ParameterRule
from segkit.registry import OPTIMIZER_REGISTRY
from segkit.solver.parameter_groups import Setting, parameter_settings, regroup, reordered_state
from segkit.utils.errors import SegkitError


def net():
    torch.manual_seed(0)
    return nn.ModuleDict({"body": nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), "head": nn.Linear(4, 1)})


NAMES = [name for name, _ in net().named_parameters()]


def settings(*rules, **more):
    return parameter_settings(NAMES, [ParameterRule.from_plain(rule) for rule in rules], **more)


def test_the_last_rule_with_a_value_applies():
    found = settings(
        {"match": "body.*", "lr_factor": 0.1, "weight_decay": 0},
        {"match": "body.1", "lr_factor": 0.5},
        {"match": "*.bias", "weight_decay": 0.3},
    )
    assert found == {
        "body.0.weight": Setting(0.1, 0),
        "body.0.bias": Setting(0.1, 0.3),
        "body.1.weight": Setting(0.5, 0),
        "body.1.bias": Setting(0.5, 0.3),
        "head.weight": Setting(),
        "head.bias": Setting(1.0, 0.3),
    }


def test_scale_and_layer_decay_multiply_the_rules_factors():
    found = settings({"match": "body", "lr_factor": 0.1}, scale=2.0, layer_decay={"body.0.weight": 0.25})
    assert found["body.0.weight"].lr_factor == pytest.approx(0.05) and found["body.0.bias"].lr_factor == 0.2
    assert found["head.weight"] == Setting(2.0)


def test_a_rule_that_matches_nothing():
    with pytest.raises(SegkitError, match=r"solver.parameters\[0\].match: no parameter matches 'haed.\*'.*'head.\*'"):
        settings({"match": "haed.*", "lr_factor": 0.1})


@pytest.mark.parametrize("name", OPTIMIZER_REGISTRY.names())
def test_groups_of_every_optimizer(name):
    model = net()
    optimizer = OPTIMIZER_REGISTRY.build(
        {"name": name, "lr": 0.1, "weight_decay": 0.5, "decay_norms_and_biases": False}, model=model, params=None
    )
    rules = {"match": "body.*", "lr_factor": 0.0}, {"match": "head.weight", "weight_decay": 0.25}
    regroup(optimizer, model, settings(*rules))
    shown = [
        (group["param_names"], group["lr"], group["lr_factor"], group["weight_decay"])
        for group in optimizer.param_groups
    ]
    assert shown == [
        (["body.0.weight"], 0.0, 0.0, 0.5),
        (["head.weight"], 0.1, 1.0, 0.25),
        (["body.0.bias", "body.1.weight", "body.1.bias"], 0.0, 0.0, 0.0),
        (["head.bias"], 0.1, 1.0, 0.0),
    ]
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model["head"](model["body"](torch.ones(2, 3))).sum().backward()
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"head.weight", "head.bias"}


def test_without_rules_the_steps_are_the_same():
    models = net(), net()
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in models]
    regroup(optimizers[1], models[1], settings())
    for model, optimizer in zip(models, optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            model["head"](model["body"](torch.ones(2, 3))).square().sum().backward()
            optimizer.step()
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first, second)


def step(model, optimizer):
    optimizer.zero_grad()
    model["head"](model["body"](torch.ones(2, 3))).square().sum().backward()
    optimizer.step()


def test_a_saved_state_is_reordered_for_other_groups():
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    regroup(optimizer, model, settings({"match": "body.1.*", "lr_factor": 0.1}))
    step(model, optimizer)
    moments = {name: optimizer.state[p]["exp_avg"].clone() for name, p in model.named_parameters()}
    other = torch.optim.AdamW(model.parameters(), lr=0.1)
    regroup(other, model, settings({"match": "*.bias", "lr_factor": 0.1}))
    other.load_state_dict(reordered_state(optimizer.state_dict(), other))
    assert all(torch.equal(other.state[p]["exp_avg"], moments[name]) for name, p in model.named_parameters())
    assert [group["param_names"] for group in other.param_groups][1] == ["body.0.bias", "body.1.bias", "head.bias"]
    model["head"].bias.requires_grad_(False)
    fewer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    regroup(fewer, model, settings())
    with pytest.raises(ValueError, match=r"1 parameters .*head.bias"):
        reordered_state(optimizer.state_dict(), fewer)


def test_a_state_without_names_is_returned_unchanged():
    model = net()
    state = torch.optim.AdamW(model.parameters(), lr=0.1).state_dict()
    other = torch.optim.AdamW(model.parameters(), lr=0.1)
    regroup(other, model, settings())
    assert reordered_state(state, other) == state


def test_a_weight_decay_for_an_optimizer_without():
    model = net()
    optimizer = torch.optim.Rprop(model.parameters(), lr=0.1)
    with pytest.raises(SegkitError, match=r"solver.parameters: the optimizer has no weight_decay"):
        regroup(optimizer, model, settings({"match": "head", "weight_decay": 0}))
