"""Times that a run logs."""

import json

import pytest
from fakes import FakeLoader, FakeModel, make_trainer

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook


class Clock:
    """Stands for the module ``time``: a test moves it."""

    def __init__(self):
        self.now = 1.0

    def perf_counter(self):
        return self.now


def timed_run(folder, clock, state=None):
    """12 steps of 2 batches; the records of metrics.json. Starting the loader takes 5000 s, a batch 2 s, the n-th forward
    pass of the process 100 n s, a hook 10 s before each step and 1000 s after it."""

    class SlowLoader(FakeLoader):
        def __iter__(self):
            clock.now += 5000
            return map(self.load, super().__iter__())

        def load(self, batch):
            clock.now += 2
            return batch

    class SlowModel(FakeModel):
        def losses(self, *args):
            clock.now += 100 * (self.calls + 1)
            return super().losses(*args)

    class SlowHook(Hook):
        def before_step(self, trainer):
            clock.now += 10

        def after_step(self, trainer):
            clock.now += 1000

    settings = {"iterations": 12, "accumulate": 2, "val_loader": None, "state": state}
    trainer = make_trainer(folder, model=SlowModel(), extra=[SlowHook()], **settings)
    trainer.loader = SlowLoader(trainer.loader.start_iteration)
    trainer.train()
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_timer(tmp_path, monkeypatch):
    clock = Clock()
    for module in ("step_batches", "hooks.timer"):
        monkeypatch.setattr(f"segkit.engine.{module}.time", clock)
    records = timed_run(tmp_path, clock)
    assert [r["iteration"] for r in records] == [1, 3, 6, 9, 12]
    assert all(r["data_time"] == 4 and r["memory_mb"] > 10 for r in records)
    # Step n takes 10 + 100 (2n - 1) + 100 (2n), and a line has the mean since the line before.
    assert [r["step_time"] for r in records] == [310, 910, 1910, 3110, 4310]
    others = [0, 2000 / 3, 5000 / 6, 8000 / 9, 11000 / 12]  # a step's share of what hooks took between the steps so far
    left = [11, 9, 6, 3, 0]
    expected = [n * (r["step_time"] + 4 + other) for n, r, other in zip(left, records, others, strict=True)]
    assert [r["eta_seconds"] for r in records] == pytest.approx(expected)
    resumed = timed_run(tmp_path, clock, read_checkpoint(tmp_path / "model_0000005.pth"))
    assert [r["iteration"] for r in resumed] == [1, 3, 6, 9, 12]
    # What the process before took is not known to this one, whose own first step is the sixth.
    assert [(r["step_time"], r["data_time"]) for r in resumed[2:4]] == [(310, 4), (1110, 4)]
    assert [r["eta_seconds"] for r in resumed[2:4]] == [6 * 314, 3 * (1114 + 3000 / 4)]
