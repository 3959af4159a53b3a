"""From the configuration to parameter groups: freezing, factors by pattern and by depth, the batch's size, the table."""

import logging
import re
from pathlib import Path

import pytest
import torch
from fakes import FakeLoader, FakeModel, make_trainer
from torch import nn

from segkit.config import load_config
from segkit.config.parameter_rule import ParameterRule
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook
from segkit.engine.parameters import build_optimizer, freeze, group_table, shortened, stage_depths
from segkit.engine.train_state import restore
from segkit.modeling.build import build_model
from segkit.solver.parameter_groups import parameter_settings, regroup
from segkit.solver.schedules import Cosine
from segkit.utils.errors import SegkitError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cfg():
    overrides = [
        "model.backbone={name: ConvNeXt, arch: atto}",
        "model.neck.out_channels=16",
        "solver.optimizer.lr=0.01",
    ]
    return load_config("segkit://quickstart.yaml", overrides)


@pytest.fixture
def model(cfg):
    return build_model(cfg, 1)


def rates(optimizer):
    return {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}


def test_layer_decay_counts_back_from_the_last_stage(cfg, model):
    depths = stage_depths(model)
    assert depths["backbone.features.0.0.weight"] == 5  # the stem
    assert depths["backbone.features.1.0.layer_scale"] == 4
    assert depths["backbone.features.6.0.weight"] == depths["backbone.features.7.1.layer_scale"] == 1
    assert not any(name.startswith(("neck", "roi_heads", "backbone.output_norms")) for name in depths)
    found = rates(build_optimizer(cfg.with_overrides(["solver.layer_decay=0.5"]), model))
    for name, rate in found.items():
        assert rate == pytest.approx(0.01 * 0.5 ** depths.get(name, 0)), name
    assert found.keys() == dict(model.named_parameters()).keys()


def test_a_backbone_without_stages(cfg, model):
    model.backbone = nn.Conv2d(3, 4, 1)
    with pytest.raises(SegkitError, match=r"solver.layer_decay: Conv2d does not name its stages"):
        build_optimizer(cfg.with_overrides(["solver.layer_decay=0.5"]), model)


def test_the_rate_is_scaled_to_the_images_of_a_step(cfg, model, caplog):
    caplog.set_level(logging.INFO)
    overrides = ["data.batch_size=2", "train.accumulate=4", "solver.base_batch_size=16"]
    assert set(rates(build_optimizer(cfg.with_overrides(overrides), model)).values()) == {0.005}
    assert "times 8 / 16 = 0.5" in caplog.text
    assert set(rates(build_optimizer(cfg, model)).values()) == {0.01}


def test_freezing_and_the_table(cfg, model):
    rules = [{"match": "backbone.features.0", "freeze": True}, {"match": "backbone.*", "lr_factor": 0.1}]
    cfg = cfg.with_values({"solver.parameters": rules})
    freeze(model, cfg.solver.parameters)
    optimizer = build_optimizer(cfg, model)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("backbone.features.0.")}
    table = [line.split() for line in group_table(optimizer, model).splitlines()]
    counted = sum(p.numel() for p in model.parameters())
    assert sum(int(line[-2 if "frozen" in line else -3].replace(",", "")) for line in table[2:]) == counted
    assert [line[-2:] for line in table[2:-1]] == [["0.001", "0.01"], ["0.01", "0.01"]] and table[-1][-1] == "frozen"
    with pytest.raises(SegkitError, match=r"solver.parameters\[0\].match: no parameter matches 'bakbone'"):
        freeze(model, [ParameterRule("bakbone", freeze=True)])


def test_shortened():
    assert shortened(["a.b.c.d.e", "a.b.c.d.f"]) == "a.b.c.d"
    assert shortened([f"a.{i}.weight" for i in range(9)]) == "a"
    assert shortened([f"p{i}.weight" for i in range(6)]) == "p0, p1, p2, p3 and 2 more"


def test_frozen_batch_norms_keep_their_statistics(tmp_path):
    model = FakeModel()
    freeze(model, [ParameterRule("layers.1", freeze=True)])
    before = {name: value.clone() for name, value in model.layers[1].state_dict().items()}
    trainer = make_trainer(tmp_path, model=model, val_loader=None)
    trainer.optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    trainer.train()
    assert all(torch.equal(value, before[name]) for name, value in model.layers[1].state_dict().items())


def grouped(trainer, *rules):
    settings = parameter_settings([n for n, _ in trainer.model.named_parameters()], rules, scale=2.0)
    regroup(trainer.optimizer, trainer.model, settings)


def test_groups_follow_the_schedule_in_proportion(tmp_path):
    seen = []

    class Watch(Hook):
        def before_train(self, trainer):
            assert trainer.schedule.end_lr == 1e-3

        def after_step(self, trainer):
            seen.append([group["lr"] for group in trainer.optimizer.param_groups])

    trainer = make_trainer(tmp_path, extra=[Watch()])
    trainer.schedule = Cosine(end_lr=1e-3)
    grouped(trainer, ParameterRule("layers.0", lr_factor=0.001), ParameterRule("layers.1", lr_factor=0.0))
    trainer.train()
    factors = [0.05 * trainer.schedule.factor(i, 12, 4, 0.05) for i in range(12)]
    for i, column in enumerate(zip(*seen, strict=True)):
        assert column == pytest.approx([2 * (0.001, 0.0, 1.0)[i] * factor for factor in factors])


def test_resumed_with_other_rules(tmp_path):
    """Each parameter keeps its moments, and the run obeys the new rates."""
    trainer = make_trainer(tmp_path, iterations=5)
    grouped(trainer, ParameterRule("layers.0", lr_factor=0.1))
    trainer.train()
    state = read_checkpoint(tmp_path / "model_final.pth")
    other = make_trainer(tmp_path)
    grouped(other, ParameterRule("*.bias", lr_factor=0.5))
    restore(other, state)
    assert [group["lr"] for group in other.optimizer.param_groups] == [0.1, 0.05]
    moments = [
        {name: t.optimizer.state[p]["exp_avg"] for name, p in t.model.named_parameters()} for t in (trainer, other)
    ]
    assert all(torch.equal(moments[0][name], moments[1][name]) for name in moments[0])
    other.loader = FakeLoader(5)
    other.train()
    assert other.iteration == 12


def test_what_the_documentation_shows(cfg, tmp_path):
    """docs/training.md: its blocks load, its keys and commands are there."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for i, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)):
        (tmp_path / f"{i}.yaml").write_text(f"_BASE_: segkit://quickstart.yaml\n{block}")
        found = load_config(tmp_path / f"{i}.yaml")
    assert found.hooks[0].name == "Profiler"
    model = build_model(load_config("segkit://quickstart.yaml"), 1)
    rules = load_config(tmp_path / "0.yaml")
    freeze(model, rules.solver.parameters)
    build_optimizer(rules, model)
    for key, value in re.findall(r"`((?:train|solver)\.\w+): ([^`]+)`", text):
        cfg.with_overrides([f"{key}={value}"])
