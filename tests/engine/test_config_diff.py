"""Resuming with another configuration than the checkpoint's."""

import logging
import math
import shutil

import pytest
import torch
from fakes import lines, make_trainer

from segkit.config import load_config
from segkit.data import build_dataset
from segkit.data.samplers import ShuffleSampler
from segkit.engine import train, trainer
from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.config_diff import NO_EFFECT, OTHERWISE, config_diff, diff_table
from segkit.engine.hooks import EarlyStopping
from segkit.engine.resume import epoch_shift, fit_to_config, without_incomparable_best
from segkit.engine.train_state import restore
from segkit.solver.schedules import Cosine


def changed(*overrides):
    before = load_config("segkit://quickstart.yaml")
    return config_diff(before.to_dict(), before.with_overrides(overrides).to_dict())


def test_what_changed_and_what_that_means():
    assert changed() == []
    found = changed("solver.optimizer.lr=1e-3", "train.epochs=7", "data.num_workers=0", "train.seed=1")
    assert [(c.key, c.before, c.now) for c in found] == [
        ("data.num_workers", 2, 0),
        ("solver.optimizer.lr", 0.002, 0.001),
        ("train.epochs", None, 7),
        ("train.iterations", 360, None),
        ("train.seed", 42, 1),
    ]
    assert found[0].meaning == NO_EFFECT and "rate" in found[1].meaning and "end moves" in found[2].meaning
    table = diff_table(found)
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows["solver.optimizer.lr"][:2] == ["0.002", "0.001"] and "rate" in rows["solver.optimizer.lr"]
    assert rows["train.epochs"][:2] == ["null", "7"]
    assert next(c.meaning for c in changed("model.backbone={name: ResNet}")).startswith(
        "the weights continue in a model"
    )


def test_keys_of_another_version():
    found = config_diff({"train": {"gone": None, "old": 3}}, {"train": {"new": None}, "odd": [1]})
    assert [(c.key, c.before, c.now, c.meaning) for c in found] == [
        ("train.old", 3, None, OTHERWISE),
        ("odd", None, [1], OTHERWISE),
    ]


@pytest.mark.parametrize("section", ["data", "solver", "train"])
def test_every_key_has_a_meaning(section):
    """But for those whose value simply holds from the next step on."""
    keys = load_config("segkit://quickstart.yaml").to_dict()[section]
    found = config_diff({section: dict.fromkeys(keys, "other")}, {section: keys})
    assert {c.key for c in found if c.meaning == OTHERWISE} <= {"data.classes"}


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


@pytest.mark.parametrize("kinds", [(torch.optim.SGD, torch.optim.AdamW), (torch.optim.AdamW, torch.optim.SGD)])
def test_another_optimizer_starts_without_moments(tmp_path, caplog, kinds):
    """Their moments mean different things; torch would take one's for the other's, or fail in the next step."""

    def trainer_with(kind, folder, **settings):
        trainer = make_trainer(folder, **settings)
        momentum = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        trainer.optimizer = kind(trainer.model.parameters(), lr=0.01, **momentum)
        return trainer

    trainer_with(kinds[0], tmp_path, iterations=4).train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    for kind, moments in ((kinds[0], True), (kinds[1], False)):
        trainer = trainer_with(kind, tmp_path / kind.__name__, iterations=6)
        restore(trainer, state)
        assert bool(trainer.optimizer.state) == moments and trainer.optimizer.param_groups[0]["lr"] == 0.01
        assert ("it starts without moments" in caplog.text) != moments
        trainer.loader.start_iteration = 4
        trainer.train()


def test_early_stopping_by_another_metric_starts_without_a_state(caplog):
    """A loss is never above an AP."""
    stopping = EarlyStopping("segm/AP", patience=2)
    stopping.best, stopping.waited, stopping._seen_at = 0.5, 1, 4
    same, other = EarlyStopping("segm/AP", patience=2), EarlyStopping("val/loss/total", patience=2)
    for hook in (same, other):
        hook.load_state_dict(stopping.state_dict())
    assert (same.best, same.waited) == (0.5, 1) and (other.best, other.waited) == (-math.inf, 0)
    assert "compared segm/AP and compares val/loss/total now" in caplog.text


def renamed(value, names):
    """Plain values with some of their keys renamed, at any depth."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(item, names) for key, item in value.items()}
    return [renamed(item, names) for item in value] if isinstance(value, list) else value


def test_a_checkpoint_with_the_earlier_names_of_keys(tmp_path, caplog):
    cfg = load_config("segkit://quickstart.yaml", ["model.roi_heads.fg_iou_threshold=0.6", "data.classes=[cell]"])
    saved = renamed(cfg.to_dict(), {"fg_iou_threshold": "foreground_iou"})
    assert saved["model"]["roi_heads"]["foreground_iou"] == 0.6
    state = {"classes": ["cell"], "config": saved, "hooks": {"BestCheckpoint": {"best": 0.5}}}
    assert fit_to_config(tmp_path / "model.pth", state, cfg) == state and not caplog.records
    changed = cfg.with_overrides(["model.roi_heads.fg_iou_threshold=0.7", "data.val.seed=5"])
    assert fit_to_config(tmp_path / "model.pth", state, changed)["hooks"] == {}
    rows = [line.split() for line in caplog.text.splitlines()]
    assert ["model.roi_heads.fg_iou_threshold", "0.6", "0.7"] in [row[:3] for row in rows]


@pytest.mark.parametrize(
    ("overrides", "comparable"),
    [
        (["data.val.seed=5"], False),
        (["data.ignore_classes=[debris]"], False),
        (["data.intensity={name: dtype_range}"], False),
        (["data.test_transforms=[{name: ResizeShortestEdge, sizes: [100], max_size: 200}]"], False),
        (["evaluators=[{name: COCO, per_class: false}]"], False),
        (["train.epochs=3", "solver.optimizer.lr=0.1", "data.test_batch_size=2"], True),
    ],
)
def test_the_best_of_other_data_is_forgotten(overrides, comparable):
    hooks = {"BestCheckpoint": {"best": 0.5}, "EarlyStopping": {"best": 0.5}, "Mine": {"n": 1}}
    kept = without_incomparable_best({"iteration": 3, "hooks": hooks}, changed(*overrides))
    assert kept == {"iteration": 3, "hooks": hooks if comparable else {"Mine": {"n": 1}}}


def test_epochs_that_are_done_stay_done():
    state = {"iteration": 8, "schedule": {"iterations_per_epoch": 4}}
    assert epoch_shift(None, 4, in_epochs=True) == epoch_shift(state, 4, in_epochs=True) == 0
    assert epoch_shift(state, 2, in_epochs=True) == -4  # two epochs are done, of two iterations each
    assert epoch_shift(state, 8, in_epochs=True) == 8
    assert epoch_shift(state, 2, in_epochs=False) == 0
    later = {"iteration": 11, "schedule": {"iterations_per_epoch": 2}, "epoch_shift": -4}
    assert epoch_shift(later, 2, in_epochs=True) == -4
    assert epoch_shift(later, 4, in_epochs=True) == 3  # three and a half


EIGHT = [
    "data.train={format: synthetic, num_images: 8, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val=null", "data.num_workers=0", "model.neck.out_channels=16", "train.device=cpu", "train.log_period=1",
    "train.checkpoint_period=1", "train.keep_checkpoints=null",
]  # fmt: skip


@pytest.mark.parametrize("larger", ["data.batch_size=4", "train.accumulate=2"])
def test_larger_steps_from_the_third_epoch_on(tmp_path, larger, monkeypatch):
    """Four epochs of 8 images: two in steps of 2, two in steps of 4. Interrupted once more, it is the same run."""
    seen = []

    def counting(batches, count=trainer.data_counts):
        seen.extend(name for batch in batches for name in batch.file_names)
        return count(batches)

    monkeypatch.setattr(trainer, "data_counts", counting)

    def run(folder, *overrides):
        values = [*EIGHT, "train.epochs=4", "data.batch_size=2", f"output_dir={folder}", *overrides]
        train(load_config("segkit://quickstart.yaml", values), resume=True)
        return read_checkpoint(folder / "model_final.pth"), lines(folder)

    folder, again = tmp_path / "run", tmp_path / "again"
    run(folder, "train.epochs=2")
    state, found = run(folder, larger)
    names = build_dataset({"format": "synthetic", "num_images": 8, "image_size": [64, 64]}, path="data.train")
    order = ShuffleSampler(8, seed=42)
    assert seen == [names.load(i).file_name for epoch in range(4) for i in order.epoch_indices(epoch)]
    assert [(line["iteration"], line["epoch"]) for line in found[6:]] == [
        (7, 1.75), (8, 2.0), (9, 2.5), (10, 3.0), (11, 3.5), (12, 4.0),
    ]  # fmt: skip
    schedule = Cosine(end_lr=1e-5, step="iteration", warmup_iterations=50)
    rates = [0.002 * schedule.factor(4 + i, 8, 2, 0.002, steps=8 + i) for i in range(4)]  # half way through
    assert [line["lr"] for line in found[8:]] == pytest.approx(rates)
    shutil.copytree(folder, again)
    (again / "last_checkpoint").write_text("model_0000010.pth")
    for name in ("model_0000011.pth", "model_final.pth"):
        (again / name).unlink()
    same, lines_again = run(again, larger)
    assert lines_again == found
    assert all(torch.equal(same["model"][name], value) for name, value in state["model"].items())
