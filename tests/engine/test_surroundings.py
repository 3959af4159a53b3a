"""What is around a run: devices, determinism, names, folders, labels of a checkpoint."""

import dataclasses
import json
import types

import pytest
import torch
from fakes import FakeBatch, FakeEvaluator, FakeLoader, make_trainer
from test_run import config
from test_validation_losses import run

from segkit.engine import run as run_module
from segkit.engine.environment import nondeterminism_errors, seed_everything
from segkit.engine.hooks.checkpoint import BestCheckpoint
from segkit.engine.hooks.evaluation import choose_metric
from segkit.engine.run_dir import log_length, make_run_dir, set_aside_earlier_run
from segkit.evaluation.coco import CocoEvaluator
from segkit.utils.device import choose_device
from segkit.utils.errors import SegkitError


def test_deterministic_runs_agree_to_the_bit(tmp_path):
    try:
        states = []
        for name in "ab":
            seed_everything(1, deterministic=True)
            trainer = make_trainer(tmp_path / name, iterations=4)
            trainer.train()
            states.append(trainer.model.state_dict())
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
        with pytest.raises(SegkitError, match=r"train.deterministic: .*max_unpool"), nondeterminism_errors():
            torch.nn.functional.max_unpool1d(torch.ones(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64), 1)
    finally:
        seed_everything(1)


@pytest.mark.parametrize("name", ["meta", "xla", "hpu"])
def test_devices_that_are_not_there(name):
    with pytest.raises(SegkitError, match=rf"train.device: '{name}' cannot be used"):
        choose_device(name)


def evaluator(*iou_types):
    return CocoEvaluator(["cell"], [1], 100, iou_types=iou_types, score_thresholds=[0.5])


def test_the_best_metric_is_checked_before_the_training(caplog):
    for name in ("segm/AP", "bbox/AP50-cell", "segm/AP@score0.5", "bbox/AP@100"):
        assert choose_metric(name, [evaluator("bbox", "segm")]) == name
    assert not caplog.text
    assert choose_metric("segm/AP", [evaluator("bbox")]) == "bbox/AP" and "bbox/AP" in caplog.text
    assert choose_metric("mine", [FakeEvaluator()]) == "mine"
    with pytest.raises(SegkitError, match=r"return no 'segm/PA'"):
        choose_metric("segm/PA", [evaluator("bbox", "segm")])
    assert BestCheckpoint("bbox/AP").metric == "bbox/AP"


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make_run_dir("~/run") == tmp_path / "run" and (tmp_path / "run").is_dir()
    assert make_trainer("~/run").output_dir == tmp_path / "run"
    with pytest.raises(SegkitError, match=r"output_dir: '~nobody_at_all/run' cannot be created"):
        make_run_dir("~nobody_at_all/run")


def test_the_earlier_log_goes_with_its_run(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("old\n")
    others = ["metrics.json", "curves.png", "curves.svg", "report.html"]
    for name in others:
        (tmp_path / name).write_text("{}\n")
    length = log_length(tmp_path)
    with open(log, "a") as handler:
        print("new", file=handler, flush=True)
        set_aside_earlier_run(tmp_path, length)
        print("newer", file=handler, flush=True)
    assert log.read_text() == "new\nnewer\n" and (tmp_path / "previous_1" / "log.txt").read_text() == "old\n"
    assert [(tmp_path / "previous_1" / name).exists() for name in others] == [True] * 4


def test_the_log_file_says_why_a_run_ended(tmp_path, monkeypatch, capsys):
    """The code that catches the error prints it once."""
    with pytest.raises(SegkitError, match=r"no/such.pth"):
        run_module.train(config(tmp_path, "train.init_weights=/no/such.pth"))
    text = (tmp_path / "log.txt").read_text()
    assert "error: the run ended with SegkitError: " in text and "no/such.pth" in text and "Traceback" not in text

    def fail(*arguments, **more):
        raise ZeroDivisionError("of my own")

    monkeypatch.setattr(run_module, "build_trainer", fail)
    with pytest.raises(ZeroDivisionError):
        run_module.train(config(tmp_path))
    text = (tmp_path / "log.txt").read_text()
    assert "error: the run ended with ZeroDivisionError: of my own\nTraceback" in text and "in fail" in text
    monkeypatch.setattr(run_module, "check_something_to_evaluate_on", fail)
    with pytest.raises(ZeroDivisionError):
        run_module.train(config(tmp_path), eval_only=True)
    assert (tmp_path / "log.txt").read_text().count("the run ended with ZeroDivisionError") == 2
    assert "the run ended" not in capsys.readouterr().out


@dataclasses.dataclass
class CountedBatch(FakeBatch):
    samples: tuple = (
        types.SimpleNamespace(dropped=2, rescued=0, skipped=()),
        types.SimpleNamespace(dropped=1, rescued=0, skipped=("a.png",)),
    )

    def to(self, device, non_blocking=False):
        return self


def test_dropped_objects_are_logged(tmp_path):
    trainer = make_trainer(tmp_path, iterations=3, val_loader=None)
    trainer.loader = (CountedBatch(b.images, b.targets) for b in FakeLoader())
    trainer.train()
    written = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [line["data/dropped"] for line in written] == [3, 6] and "data/rescued" not in written[0]
    assert [line["data/skipped"] for line in written] == [1, 2]


def test_weights_and_resume(tmp_path):
    with pytest.raises(SegkitError, match=r"--weights starts a new run"):
        run_module.train(config(tmp_path), weights="x.pth", resume=True)


def test_a_whole_deterministic_run_agrees_to_the_bit(tmp_path):
    """With a real model: none of its operations is without a deterministic kernel."""
    try:
        trainers = []
        for name in "ab":
            seed_everything(1, deterministic=True)
            trainers.append(run(tmp_path / name, "data.val=null", "train.accumulate=2", "train.ema_decay=0.9")[0])
        for states in (
            [trainer.model.state_dict() for trainer in trainers],
            [trainer.ema.model_state() for trainer in trainers],
        ):
            assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    finally:
        seed_everything(1)
