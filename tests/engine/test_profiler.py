import gzip
import json

import pytest
from fakes import make_trainer

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook
from segkit.registry import HOOK_REGISTRY
from segkit.utils.errors import SegkitError


def build(**settings):
    return HOOK_REGISTRY.build({"name": "Profiler", **settings}, path="hooks[0]", period=20)


def test_trace_and_table(tmp_path):
    make_trainer(tmp_path, extra=[build(wait=2, warmup=1, active=2, rows=9)], val_loader=None).train()
    names = sorted(path.name for path in (tmp_path / "profile").iterdir())
    assert names == ["table_0000005.txt", "trace_0000005.json.gz"]
    with gzip.open(tmp_path / "profile" / names[1], "rt") as file:
        events = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"aten::addmm", "ProfilerStep#4"} & events and "ProfilerStep#1" not in events
    assert "aten::" in (tmp_path / "profile" / names[0]).read_text()


def test_a_run_that_ends_before_its_time(tmp_path, caplog):
    class Fail(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 3:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_trainer(tmp_path, extra=[build(wait=1, warmup=1, active=50), Fail()], val_loader=None).train()
    with gzip.open(tmp_path / "profile" / "trace_0000003.json.gz", "rt") as file:
        events = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert "aten::addmm" in events, "the steps before the error"
    assert "nothing was recorded" not in caplog.text
    make_trainer(tmp_path / "short", iterations=2, extra=[build(wait=5)], val_loader=None).train()
    assert not (tmp_path / "short" / "profile").exists()
    assert "Profiler: nothing was recorded, for the run ended within the 7 steps of its wait and warmup" in caplog.text


def test_a_resumed_run_records_once_more(tmp_path):
    for iterations, state in ((5, None), (10, "model_final.pth")):
        state = state and read_checkpoint(tmp_path / state)
        profiler = build(wait=1, warmup=1, active=2)
        make_trainer(tmp_path, iterations=iterations, extra=[profiler], val_loader=None, state=state).train()
    names = sorted(path.name for path in (tmp_path / "profile").glob("table*"))
    assert names == ["table_0000004.txt", "table_0000009.txt"]


def test_settings_that_cannot_be():
    with pytest.raises(SegkitError, match=r"hooks\[0\]: wait and warmup must be 0 or more"):
        build(active=0)
