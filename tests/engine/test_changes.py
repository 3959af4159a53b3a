"""Going on with another configuration than that of the checkpoint."""

import logging

import pytest
from fakes import lines, make_trainer

from segkit.config import load_config
from segkit.engine.changes import NO_CHANGE, changes_table, config_changes
from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.solver.schedules import Cosine


def changed(*overrides):
    before = load_config("segkit://quickstart.yaml")
    return config_changes(before.to_dict(), before.with_overrides(overrides).to_dict())


def test_what_changed_and_what_that_means():
    assert changed() == []
    found = changed("solver.optimizer.lr=1e-3", "train.epochs=7", "data.num_workers=0", "train.seed=1")
    assert [(c.key, c.was, c.now) for c in found] == [
        ("data.num_workers", 2, 0),
        ("solver.optimizer.lr", 0.002, 0.001),
        ("train.epochs", None, 7),
        ("train.iterations", 360, None),
        ("train.seed", 42, 1),
    ]
    assert found[0].meaning == NO_CHANGE and "rate" in found[1].meaning and "end moves" in found[2].meaning
    table = changes_table(found)
    assert "solver.optimizer.lr  0.002  0.001  the schedule scales this rate" in table and "null" in table
    assert next(c.meaning for c in changed("model.backbone={name: ResNet}")).startswith("the weights go on in a model")


def test_keys_of_another_version():
    found = config_changes({"train": {"gone": None, "old": 3}}, {"train": {"new": None}, "odd": [1]})
    assert [(c.key, c.was, c.now, c.meaning) for c in found] == [
        ("train.old", 3, None, "holds from here on"),
        ("odd", None, [1], "holds from here on"),
    ]


@pytest.mark.parametrize("section", ["data", "solver", "train"])
def test_every_key_has_a_meaning(section):
    """But for those whose value simply holds from the next step on."""
    keys = load_config("segkit://quickstart.yaml").to_dict()[section]
    found = config_changes({section: dict.fromkeys(keys, "other")}, {section: keys})
    assert {c.key for c in found if c.meaning == "holds from here on"} <= {"data.classes"}


def test_another_learning_rate_and_another_end(tmp_path):
    make_trainer(tmp_path, iterations=8, log_period=1).train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    trainer = make_trainer(tmp_path, iterations=12, log_period=1, state=state)
    trainer.optimizer.param_groups[0]["lr"] = 0.01  # as built with another rate; restore leaves it
    trainer.train()
    schedule = Cosine(end_lr=1e-3, step="epoch", warmup_iterations=3)
    rates = [line["lr"] for line in lines(tmp_path)]
    assert rates[:8] == pytest.approx([0.05 * schedule.factor(i, 8, 4, 0.05) for i in range(8)])
    assert rates[8:] == pytest.approx([0.01 * schedule.factor(i, 12, 4, 0.01) for i in range(8, 12)])


def test_another_best_metric_is_not_compared(tmp_path, caplog):
    make_trainer(tmp_path, iterations=4).train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    assert state["hooks"]["BestCheckpoint"]["metric"] == "segm/AP"
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(tmp_path, iterations=8, best_metric="segm/AP-cell", state=state)
    trainer.train()
    assert "the best segm/AP so far is not compared with segm/AP-cell" in caplog.text
    assert read_checkpoint(tmp_path / "model_best.pth")["hooks"]["BestCheckpoint"]["best"] == 0.5
