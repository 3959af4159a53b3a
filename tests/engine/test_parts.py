import json
import os
import signal
import time

import pytest
import torch
from fakes import FakeLoader, FakeModel, lines, make_trainer

from segkit.engine.amp import autocast
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook, Writer, Writers, build_default_hooks
from segkit.engine.hooks.logging import JsonWriter, console_line, cut_lines
from segkit.engine.metrics import MAX_OVERFLOWS, Metrics
from segkit.engine.run_dir import make_run_dir, set_aside_earlier_run
from segkit.engine.signals import delayed_interrupt
from segkit.registry import HOOK_REGISTRY, WRITER_REGISTRY
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError


def test_metrics_are_means_since_the_last_read():
    metrics = Metrics()
    for value in (1.0, 2.0, 6.0):
        metrics.add({"loss/a": torch.tensor(value, requires_grad=True)})
        metrics.log("lr", value)
    metrics.log("tensor", torch.tensor(4.0))
    assert metrics.check(3) == {"loss/a": 3.0}
    assert metrics.read(3) == {"loss/a": 3.0, "lr": 6.0, "tensor": 4.0}
    assert metrics.read(3) == {}


def test_metrics_come_back():
    metrics, again = Metrics(), Metrics()
    metrics.add({"a": torch.tensor(1.0)})
    metrics.log("lr", torch.tensor(2.0))
    again.load_state_dict(metrics.state_dict(), torch.device("cpu"))
    for m in (metrics, again):
        m.add({"a": torch.tensor(2.0), "b": torch.tensor(5.0)})
    assert again.read(2) == metrics.read(2) == {"a": 1.5, "b": 5.0, "lr": 2.0}


def test_names_may_come_and_go():
    steps = [{"a": 1.0}, {"b": 10.0, "a": 2.0}, {"b": 20.0}, {"c": 5.0, "b": 60.0}, {"a": 6.0, "b": 2.0}]
    whole, parts = Metrics(), Metrics()
    for step in steps:
        whole.add({name: torch.tensor(value) for name, value in step.items()})
        parts.add({name: torch.tensor(value) for name, value in step.items()})
        again = Metrics()
        again.load_state_dict(parts.state_dict(), torch.device("cpu"))
        parts = again
    found = whole.read(5)
    assert list(found) == ["a", "b", "c"] and found == {"a": 3.0, "b": 23.0, "c": 5.0} == parts.read(5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite(bad):
    strict, fp16 = Metrics(), Metrics(allow_overflow=True)
    for metrics in (strict, fp16):
        for value in (1.0, bad, 3.0):
            metrics.add({"loss/total": torch.tensor(value), "loss/mask": torch.tensor(value)})
    with pytest.raises(SegkitError, match=r"diverged: loss/mask became"):
        strict.read(3)
    assert fp16.read(3) == {"loss/total": 2.0, "loss/mask": 2.0}
    fp16.add({"loss/box": torch.tensor(bad)})
    with pytest.raises(SegkitError, match=r"loss/box"):
        fp16.read(4)


def test_fp16_may_begin_with_gradients_that_overflow():
    """Of single steps, as a line is written after the first one; the losses are finite."""
    metrics = Metrics(allow_overflow=True)

    def step(norm):
        metrics.add({"loss/total": torch.tensor(1.0), "grad_norm": torch.tensor(norm)})
        return metrics.read(1)

    for _ in range(2):
        for _ in range(MAX_OVERFLOWS):
            assert step(float("inf")) == {"loss/total": 1.0}
        assert step(2.0) == {"loss/total": 1.0, "grad_norm": 2.0}  # which restarts the count
    for _ in range(MAX_OVERFLOWS):
        step(float("inf"))
    again = Metrics(allow_overflow=True)
    again.load_state_dict(metrics.state_dict(), torch.device("cpu"))
    metrics = again
    with pytest.raises(SegkitError, match=r"grad_norm became NaN"):
        step(float("inf"))


def test_delayed_interrupt():
    reached = []
    with pytest.raises(KeyboardInterrupt), delayed_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        reached.append("end of the block")
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ZeroDivisionError), delayed_interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_precision():
    cpu = torch.device("cpu")
    check_precision("fp32", cpu)
    check_precision("bf16", cpu)
    with pytest.raises(SegkitError, match=r"train.precision: fp16 needs a CUDA GPU.*train.precision=fp32"):
        check_precision("fp16", cpu)
    with pytest.raises(SegkitError, match=r"fp32, bf16 or fp16"):
        check_precision("fp8", cpu)
    with autocast("bf16", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast("fp32", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_device():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type in ("cpu", "cuda")
    with pytest.raises(SegkitError, match=r"train.device: 'gpu' is not a device"):
        choose_device("gpu")
    with pytest.raises(SegkitError, match=r"train.device: 'cuda:99'"):
        choose_device("cuda:99")


def test_earlier_runs_are_set_aside(tmp_path):
    folder = make_run_dir(tmp_path / "run")
    set_aside_earlier_run(folder)
    assert not list(folder.iterdir())
    for number in (1, 2):
        for name in ("model_final.pth", "last_checkpoint", "metrics.json", "log.txt"):
            (folder / name).write_text(f"{number}")
        (folder / "inference").mkdir()
        set_aside_earlier_run(folder)
        (folder / "log.txt").unlink()
    assert sorted(p.name for p in folder.iterdir()) == ["previous_1", "previous_2"]
    assert (folder / "previous_2" / "metrics.json").read_text() == "2"
    assert (folder / "previous_1" / "inference").is_dir()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SegkitError, match=r"output_dir: .*file"):
        make_run_dir(tmp_path / "file" / "run")


GOOD = "".join(json.dumps({"iteration": i}) + "\n" for i in (1, 20))


@pytest.mark.parametrize(
    "end",
    ['{"iteration": 40}\n{"iteration": 60, "lo', "\0" * 50, '\0\0": 3}\n{"iteration": 40}\n', "[1]\n3\n"],
    ids=["half a line", "zeros", "zeros before a line", "other JSON"],
)
def test_cutting_lines_and_what_a_crash_left(tmp_path, caplog, end):
    path = tmp_path / "metrics.json"
    path.write_text(GOOD + end)
    cut_lines(path, 20)
    assert path.read_text() == GOOD
    assert "unfinished or damaged" in caplog.text


def test_a_last_line_without_its_end_gets_it(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(GOOD.removesuffix("\n"))
    cut_lines(path, 20)
    assert path.read_text() == GOOD


def test_damage_before_a_line_that_stays_is_an_error(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("spilt coffee\n" + GOOD)
    with pytest.raises(SegkitError, match=r"line 1: is no line of metrics \('spilt coffee'\); remove it"):
        cut_lines(path, 1)


def test_what_is_no_number_stays_json(tmp_path):
    trainer = make_trainer(tmp_path)
    writer = JsonWriter()
    writer.open(trainer)
    writer.write(trainer, {"iteration": 1, "a": float("nan"), "b": 2.0})
    writer.close(trainer)
    assert json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail) == {
        "iteration": 1, "a": None, "b": 2.0,
    }  # fmt: skip


def test_console_line():
    record = {
        "iteration": 120, "epoch": 2.4, "eta_seconds": 3723.2, "loss/total": 1.5, "loss/cls": 1.0, "loss/box": 0.5,
        "lr": 1e-4, "data_time": 0.01, "step_time": 0.5, "memory_mb": 812.3, "segm/AP": 0.3,
    }  # fmt: skip
    assert console_line(record, 5000) == (
        "iter  120/5000  epoch 2.4  eta 1:02:03  loss 1.5000 (cls 1.0000 box 0.5000)  lr 1.00e-04  data 0.010 s  "
        "step 0.500 s  mem 812 MB"
    )


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


def test_order_and_users_writers():
    class Mine(Hook):
        pass

    class Mail(Writer):
        pass

    mail = Mail()
    hooks = build_default_hooks(
        log_period=20, checkpoint_period=10, val_loader=[], extra=[Writers(20, writers=[mail]), Mine()]
    )
    assert [type(hook).__name__ for hook in hooks] == [
        "Timer", "Evaluation", "BestCheckpoint", "Mine", "Writers", "PeriodicCheckpoint",
    ]  # fmt: skip
    assert hooks[-2].writers[-1] is mail and len(hooks[-2].writers) == 5


def test_writers_by_name(tmp_path):
    seen = []

    @WRITER_REGISTRY.register(name="TestListWriter")
    class ListWriter(Writer):
        def __init__(self, *, key: str):
            self.key = key

        def write(self, trainer, record):
            seen.append(record[self.key])

    try:
        spec = {"name": "Writers", "writers": [{"name": "TestListWriter", "key": "iteration"}]}
        hook = HOOK_REGISTRY.build(spec, path="hooks[0]", period=3)
        make_trainer(tmp_path, extra=[hook]).train()
    finally:
        del WRITER_REGISTRY._obj_map["TestListWriter"]
    assert seen == [line["iteration"] for line in lines(tmp_path)]


def test_all_writers(tmp_path):
    make_trainer(tmp_path, iterations=4, all_writers=True).train()
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
