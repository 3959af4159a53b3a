"""The best model by a metric with a least gain, and the end of a run that gains nothing any more."""

import errno

import pytest
import torch
from fakes import lines, make_trainer

from segkit.config import load_config
from segkit.engine.build import build_early_stopping
from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.hooks import BestCheckpoint, EarlyStopping, Hook
from segkit.evaluation import CocoEvaluator
from segkit.utils.errors import SegkitError


def run(folder, values, *, state=None, extra=(), iterations=12, name="segm/AP", **settings):
    """A run that evaluates after every second step, to the values, one after the other."""
    trainer = make_trainer(
        folder, iterations=iterations, eval_period=2, checkpoint_period=100, state=state, extra=extra, **settings
    )
    trainer.named_hooks()["Evaluation"].evaluators[0].evaluate = lambda: {
        "segm/AP": 0.0,
        name: values[trainer.iteration // 2 - 1],
    }
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    "name, values, min_gain, best",
    [
        ("segm/AP", [0.1, 0.3, 0.3, 0.2, 0.31, 0.1], 0.0, 10),
        ("segm/AP", [0.1, 0.3, 0.3, 0.2, 0.31, 0.1], 0.05, 4),
        ("segm/AP", [0.1, 0.14, 0.16, 0.2, 0.205, 0.1], 0.05, 6),  # a gain over what was saved, not over the one before
        ("val/loss/total", [3.0, 2.0, 1.99, 1.5, 1.45, 9.0], 0.1, 8),
        ("bbox/AP", [float("nan"), 0.2, float("nan"), 0.1, 0.1, 0.1], 0.0, 4),
    ],
)
def test_the_best_by_a_least_gain(tmp_path, name, values, min_gain, best):
    run(tmp_path, values, name=name, best_metric=name, best_min_gain=min_gain)
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == best


def interrupted(folder, values, iteration, **settings):
    """A run that ends after an iteration, and its last checkpoint."""

    class Press(Hook):
        def after_step(self, trainer):
            if trainer.iteration == iteration:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, values, extra=[Press()], **settings)
    return read_checkpoint(find_last_checkpoint(folder))


def test_a_resumed_run_knows_the_best_so_far(tmp_path):
    values = [0.1, 0.3, 0.2, 0.25, 0.2, 0.1]
    run(tmp_path, values, state=interrupted(tmp_path, values, iteration=5))
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == 4


def test_a_best_that_could_not_be_saved_is_none_to_compare_with(tmp_path, monkeypatch):
    values = [0.5, 0.3, 0.2, 0.2, 0.2, 0.2]
    save = torch.save

    def failing(state, file):
        if "model_best" in file.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, file)

    class Settled(Hook):
        def before_step(self, trainer):
            trainer.hooks[-1].writer.wait()  # or it would be chance how many steps later the failure is noticed

    with monkeypatch.context() as patch, pytest.raises(SegkitError, match=r"model_best.pth' could not be written"):
        patch.setattr(torch, "save", failing)
        run(tmp_path, values, extra=[Settled()])
    run(tmp_path, values, state=read_checkpoint(find_last_checkpoint(tmp_path)))
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == 4


@pytest.mark.parametrize(
    "metric, values, min_gain, end",
    [
        ("segm/AP", [0.1, 0.2, 0.2, 0.15, 0.3, 0.4], 0.0, 8),
        ("segm/AP", [0.1, 0.2, 0.2, 0.25, 0.2, 0.3], 0.0, 12),
        ("segm/AP", [0.1, 0.2, 0.24, 0.23, 0.3, 0.4], 0.05, 8),
        ("val/loss/total", [3.0, 2.0, 2.5, 1.0, 1.5, 0.5], 0.0, 12),
        ("val/loss/total", [3.0, 2.0, 2.5, 2.0, 1.5, 0.5], 0.0, 8),
        ("bbox/AP", [0.1, float("nan"), float("nan"), 0.3, 0.4, 0.5], 0.0, 6),
    ],
)
def test_patience(tmp_path, metric, values, min_gain, end, caplog):
    caplog.set_level("INFO")
    run(tmp_path, values, name=metric, early_stopping=EarlyStopping(metric, patience=2, min_gain=min_gain))
    assert lines(tmp_path)[-1]["iteration"] == end
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == end
    assert find_last_checkpoint(tmp_path).name == "model_final.pth"
    assert ("early stopping after iteration" in caplog.text) == (end < 12)


VALUES = [0.1, 0.2, 0.15, 0.2, 0.1, 0.1]


@pytest.mark.parametrize("iteration", [3, 6, 8])
def test_it_goes_on_counting_in_a_resumed_run(tmp_path, iteration):
    # After the count where it is 6, with the run to be ended where it is 8.
    state = interrupted(tmp_path, VALUES, iteration, early_stopping=EarlyStopping("segm/AP", patience=2))
    assert state["iteration"] == iteration
    trainer = run(tmp_path, VALUES, early_stopping=EarlyStopping("segm/AP", patience=2), state=state)
    assert trainer.iteration == 8 and lines(tmp_path)[-1]["iteration"] == 8
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == 8


def test_an_evaluation_is_counted_once(tmp_path):
    """A hook that was interrupted in its last line runs again."""
    hook = EarlyStopping("segm/AP", patience=3)
    trainer = make_trainer(tmp_path)
    for iteration, value in ((4, 0.5), (8, 0.4)):
        trainer.iteration = trainer.evaluated_at = iteration
        trainer.evaluation = {"segm/AP": value}
        hook.after_step(trainer)
    again = EarlyStopping("segm/AP", patience=3)
    again.load_state_dict(hook.state_dict())
    again.after_step(trainer)
    assert again.waited == 1 and not trainer.done


def test_a_stopped_run_ends_at_once_and_goes_on_with_more_patience(tmp_path):
    run(tmp_path, VALUES, early_stopping=EarlyStopping("segm/AP", patience=2))
    state = read_checkpoint(tmp_path / "model_final.pth")
    assert run(tmp_path, VALUES, early_stopping=EarlyStopping("segm/AP", patience=2), state=state).iteration == 8
    assert run(tmp_path, VALUES, early_stopping=EarlyStopping("segm/AP", patience=3), state=state).iteration == 10


def test_a_metric_that_is_not_there(tmp_path):
    with pytest.raises(SegkitError, match=r"train.early_stopping.metric: the evaluation has no 'segm/PA'.*'segm/AP'"):
        run(tmp_path, VALUES, early_stopping=EarlyStopping("segm/PA", patience=2))


def test_from_the_configuration():
    evaluators = [CocoEvaluator(["cell"], [1], 100)]

    def build(*overrides):
        cfg = load_config("segkit://quickstart.yaml", ["train.eval_period=30", *overrides])
        return build_early_stopping(cfg, evaluators, cfg.train.best_metric)

    assert build() is None
    hook = build("train.early_stopping={patience: 4, min_gain: 0.01}", "train.best_metric=bbox/AP50")
    assert (hook.metric, hook.patience, hook.min_gain) == ("bbox/AP50", 4, 0.01)
    assert build("train.early_stopping.metric=val/loss/total").metric == "val/loss/total"
    with pytest.raises(SegkitError, match=r"train.early_stopping.metric: the evaluators return no 'segm/PA'"):
        build("train.early_stopping.metric=segm/PA")
    with pytest.raises(SegkitError, match=r"train.early_stopping: data.val is null"):
        build("train.early_stopping={}", "data.val=null")
    with pytest.raises(SegkitError, match=r"train.early_stopping: train.eval_period is 0.*'1 epoch'"):
        build("train.early_stopping={}", "train.eval_period=0")


@pytest.mark.parametrize("settings", [{"patience": 0}, {"patience": 1, "min_gain": -0.1}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ValueError, match=r"0 or more|1 or more"):
        EarlyStopping("segm/AP", **settings)
    with pytest.raises(ValueError, match=r"min_gain"):
        BestCheckpoint("segm/AP", min_gain=-1)


@pytest.mark.parametrize("place", ["before the evaluation", "after it"])
def test_hooks_that_compare_say_where_they_belong(tmp_path, place, caplog):
    """Before the hook that evaluates they would never see an evaluation, and never do anything."""
    trainer = make_trainer(tmp_path, early_stopping=EarlyStopping("segm/AP", patience=5), iterations=4)
    if place == "before the evaluation":
        evaluation = trainer.named_hooks()["Evaluation"]
        trainer.hooks.remove(evaluation)
        trainer.hooks.insert(3, evaluation)
    trainer.train()
    messages = [record.getMessage() for record in caplog.records if "met no evaluation" in record.getMessage()]
    expected = ["BestCheckpoint has met", "EarlyStopping has met"] if place == "before the evaluation" else []
    assert [" ".join(text.split()[:3]) for text in messages] == expected
    assert (tmp_path / "model_best.pth").exists() == (place == "after it")


def test_a_metric_of_nan_is_a_warning(tmp_path, caplog):
    trainer = make_trainer(tmp_path, iterations=4)
    trainer.named_hooks()["Evaluation"].evaluators[0].evaluate = lambda: {"segm/AP": float("nan")}
    trainer.train()
    assert "segm/AP is NaN after iteration 4: no model is saved for it" in caplog.text
    assert not (tmp_path / "model_best.pth").exists()
