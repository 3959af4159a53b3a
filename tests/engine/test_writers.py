"""Writers of metrics: files, the line on the console, and those of users."""

import json
from io import BytesIO

import numpy as np
import pytest
from fakes import lines, make_trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segkit.engine.hooks import Hook, Pictures, Writer, Writers, build_default_hooks
from segkit.engine.hooks.logging import JsonWriter, console_line, cut_lines
from segkit.registry import HOOK_REGISTRY, WRITER_REGISTRY
from segkit.utils.errors import SegkitError

GOOD = "".join(json.dumps({"iteration": i}) + "\n" for i in (1, 20))


@pytest.mark.parametrize(
    "end",
    ['{"iteration": 40}\n{"iteration": 60, "lo', "\0" * 50, '\0\0": 3}\n{"iteration": 40}\n', "[1]\n3\n"],
    ids=["half a line", "zeros", "zeros before a line", "other JSON"],
)
def test_lines_of_repeated_steps_and_of_a_crash_are_removed(tmp_path, caplog, end):
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
    with pytest.raises(SegkitError, match=r"metrics.json, line 1.*'spilt coffee'"):
        cut_lines(path, 1)


def test_nan_is_written_as_null(tmp_path):
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


def test_order_and_users_writers():
    class Mine(Hook):
        pass

    class Mail(Writer):
        pass

    mail = Mail()
    hooks = build_default_hooks(
        log_period=20, checkpoint_period=10, val_loader=[], pictures=Pictures([], ["cell"], 0.5),
        extra=[Writers(20, writers=[mail]), Mine()],
    )  # fmt: skip
    assert [type(hook).__name__ for hook in hooks] == [
        "Timer", "Evaluation", "BestCheckpoint", "Mine", "Pictures", "Writers", "PeriodicCheckpoint",
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


@pytest.mark.figures
def test_all_writers(tmp_path):
    picture = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    Image.fromarray(picture).save(tmp_path / "a.png")
    trainer = make_trainer(tmp_path, iterations=4, all_writers=True)
    trainer.pictures = [tmp_path / "a.png"]
    trainer.train()
    with Image.open(tmp_path / "curves.png") as curves:
        assert min(curves.size) > 300 and len(np.unique(np.asarray(curves.convert("L")))) > 20, "lines and labels"
    events = EventAccumulator(str(tmp_path)).Reload()
    written = {e.step: e.value for e in events.Scalars("loss/total")}
    assert written == {line["iteration"]: pytest.approx(line["loss/total"]) for line in lines(tmp_path)}
    (shown,) = events.Images("pictures/a")
    assert shown.step == 4
    np.testing.assert_array_equal(Image.open(BytesIO(shown.encoded_image_string)), picture)
