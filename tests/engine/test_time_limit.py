"""The hooks that end a training after a time, and pause it after an iteration."""

from __future__ import annotations

import pytest
import torch
from fakes import lines, make_trainer

from segkit.engine.hooks import PauseAt, TimeLimit
from segkit.engine.resume import newest_good_checkpoint
from segkit.utils.errors import RunInterrupted, SegkitError


def test_a_paused_training_ends_as_one_without_pauses(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "paused").mkdir()
    whole = make_trainer(tmp_path / "whole")
    whole.train()
    folder = tmp_path / "paused"
    for iteration in (4, 7):
        found = newest_good_checkpoint(folder)
        state = found and found[1]
        with pytest.raises(RunInterrupted):
            make_trainer(folder, state=state, extra=[PauseAt(iteration=iteration)]).train()
        state = newest_good_checkpoint(folder)[1]
        assert state["iteration"] == iteration and not state["pending"]
        assert max(line["iteration"] for line in lines(folder)) <= iteration
    last = make_trainer(folder, state=newest_good_checkpoint(folder)[1], extra=[PauseAt(iteration=12)])
    last.train()  # the run ends there, so it does not pause
    assert lines(folder) == lines(tmp_path / "whole")
    for name, value in last.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name]), name


def test_the_time_limit_counts_over_resumed_runs(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("segkit.engine.hooks.time_limit.time.monotonic", lambda: clock[0])

    class Slow(TimeLimit):
        def before_step(self, trainer):
            clock[0] += 30
            super().before_step(trainer)

    with pytest.raises(RunInterrupted):
        make_trainer(tmp_path, extra=[Slow(minutes=2.0), PauseAt(iteration=2)]).train()
    state = newest_good_checkpoint(tmp_path)[1]
    assert state["hooks"]["Slow"]["seconds"] == 90.0  # the third step's clock had begun
    clock[0] = 5000.0
    trainer = make_trainer(tmp_path, state=state, extra=[Slow(minutes=2.0)])
    trainer.train()
    assert trainer.iteration == 3 and (tmp_path / "model_final.pth").is_file()
    state = newest_good_checkpoint(tmp_path)[1]
    again = make_trainer(tmp_path, state=state, extra=[Slow(minutes=2.0)])
    again.train()
    assert again.iteration == 3  # the run had ended


@pytest.mark.parametrize("build", [lambda: TimeLimit(minutes=0), lambda: PauseAt(iteration=0)])
def test_limits_are_checked(build):
    with pytest.raises(SegkitError, match="given 0"):
        build()
