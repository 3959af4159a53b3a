"""Rules for parameters and the section for early stopping, as written in a configuration."""

import pytest

from segkit.config import load_config
from segkit.config.parameter_rule import ParameterRule
from segkit.utils.errors import SegkitError


@pytest.fixture(autouse=True)
def components():
    """In place of the conftest's: the registries as they are."""


def load(*overrides):
    return load_config("segkit://quickstart.yaml", list(overrides))


def test_rules_come_back_equal(tmp_path):
    text = "solver.parameters=[{match: 'backbone.*', lr_factor: 0.1, weight_decay: 0}, {match: neck, freeze: true}]"
    cfg = load(text, "train.early_stopping.patience=3", "train.early_stopping.metric=val/loss/total")
    assert cfg.solver.parameters == (
        ParameterRule("backbone.*", lr_factor=0.1, weight_decay=0),
        ParameterRule("neck", freeze=True),
    )
    assert cfg.train.early_stopping.patience == 3 and cfg.train.early_stopping.min_gain == 0
    (tmp_path / "saved.yaml").write_text(cfg.to_yaml())
    assert load_config(tmp_path / "saved.yaml") == cfg
    assert cfg.with_overrides(["solver.parameters.0.lr_factor=0.5"]).solver.parameters[0].lr_factor == 0.5
    assert load("train.early_stopping={}").train.early_stopping.patience == 5
    assert load().train.early_stopping is None and load().solver.parameters == ()


@pytest.mark.parametrize(
    "override, parts",
    [
        ("solver.parameters=[{match: a, lr_facter: 1}]", ["solver.parameters.0", "lr_facter", "'lr_factor'"]),
        ("solver.parameters=[{lr_factor: 1}]", ["solver.parameters.0", "match"]),
        ("solver.parameters=[{match: a}]", ["lr_factor", "freeze"]),
        ("solver.parameters=[{match: a, freeze: true, lr_factor: 1}]", ["freeze"]),
        ("solver.parameters=[{match: a, freeze: 1}]", ["freeze", "true or false"]),
        ("solver.parameters=[{match: a, lr_factor: -1}]", ["lr_factor", "at least 0"]),
        ("solver.parameters=[{match: a, weight_decay: .nan}]", ["weight_decay", "at least 0"]),
        ("solver.parameters=[{match: a, weight_decay: x}]", ["weight_decay", "a number"]),
        ("solver.parameters=[backbone]", ["match"]),
        ("solver.parameters={match: a}", ["solver.parameters", "a list"]),
        ("train.early_stopping.patience=0", ["train.early_stopping.patience", "at least 1"]),
        ("train.early_stopping.patiense=1", ["'train.early_stopping.patience'"]),
        ("train.early_stopping=5", ["train.early_stopping"]),
        ("train.ema_decay=1", ["train.ema_decay", "below 1"]),
        ("train.accumulate=0", ["train.accumulate", "at least 1"]),
        ("solver.layer_decay=0", ["solver.layer_decay", "above 0"]),
    ],
)
def test_mistakes(override, parts):
    with pytest.raises(SegkitError) as raised:
        load(override)
    for part in parts:
        assert part in str(raised.value), raised.value
