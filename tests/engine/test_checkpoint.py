import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeEvaluator, lines, make_trainer

from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint, save_checkpoint
from segkit.engine.resume import check_classes
from segkit.engine.train_state import restore, rng_state, set_rng_state, training_state
from segkit.utils.errors import SegkitError


class Rising(FakeEvaluator):
    """Each evaluation is better than the one before."""

    count = 0

    def evaluate(self):
        self.count += 1
        return {"segm/AP": self.count / 100}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    make_trainer(folder).train()
    return folder


def test_content(run):
    state = torch.load(run / "model_final.pth", weights_only=True)
    expected = "model config classes category_ids iteration optimizer schedule scaler hooks rng"
    assert set(expected.split()) <= state.keys()
    assert state["config"] == {"a": [1, "x"]} and state["classes"] == ["cell"] and state["category_ids"] == [1]
    assert state["iteration"] == 12 and state["schedule"] == {"max_iterations": 12, "iterations_per_epoch": 4}


def test_files_of_a_run(run):
    checkpoints = {f"model_{name}.pth" for name in ("0000005", "0000010", "best", "final")}
    assert {path.name for path in run.iterdir()} == {"metrics.json", "last_checkpoint", *checkpoints}
    assert find_last_checkpoint(run) == run / "model_final.pth"
    assert find_last_checkpoint(run / "nowhere") is None


def test_the_lines_that_a_checkpoint_counts_on_are_on_the_disk_before_it(tmp_path, monkeypatch):
    fsync, replace = os.fsync, os.replace
    synced, found = {}, {}  # the length of metrics.json that is safe; the last iteration in that, by checkpoint

    def noting_fsync(descriptor):
        fsync(descriptor)
        status, metrics = os.fstat(descriptor), tmp_path / "metrics.json"
        if metrics.exists() and os.path.samestat(status, metrics.stat()):
            synced["length"] = status.st_size

    def noting_replace(old, new):
        safe = (tmp_path / "metrics.json").read_bytes()[: synced.get("length", 0)].splitlines()
        found.setdefault(Path(new).name, []).append(json.loads(safe[-1])["iteration"] if safe else 0)
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    make_trainer(tmp_path, iterations=7, evaluators=[Rising()]).train()
    # At least: the training goes on meanwhile. The line of the best's own iteration comes after it, also in a resumed run.
    for name, iterations in {"model_best.pth": [3, 6], "model_0000005.pth": [4], "model_final.pth": [7]}.items():
        assert all(safe >= last for safe, last in zip(found[name], iterations, strict=True)), (name, found)


def test_only_the_latest_are_kept(tmp_path):
    make_trainer(tmp_path, iterations=10, checkpoint_period=2, keep_checkpoints=2, val_loader=None).train()
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0000006.pth", "model_0000008.pth", "model_final.pth"]


def test_the_count_goes_on_after_resuming(tmp_path):
    settings = {"checkpoint_period": 2, "keep_checkpoints": 2, "val_loader": None}
    make_trainer(tmp_path, iterations=7, **settings).train()
    state = read_checkpoint(tmp_path / "model_0000006.pth")
    make_trainer(tmp_path, iterations=11, state=state, **settings).train()
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0000008.pth", "model_0000010.pth", "model_final.pth"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken", None])
def test_a_broken_file_is_named(tmp_path, content, run):
    path = tmp_path / "model_0000001.pth"
    if content is None:  # cut short, as by a full disk
        content = (run / "model_final.pth").read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(SegkitError, match=r"model_0000001.pth.*damaged"):
        read_checkpoint(path)


def test_other_files(tmp_path):
    with pytest.raises(SegkitError, match=r"no checkpoint at .*none.pth"):
        read_checkpoint(tmp_path / "none.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(SegkitError, match=r"weights.pth' is not a checkpoint of a segkit run"):
        read_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize("value", [np.float64(1.0), np.zeros(2), object(), {1, 2}, {"a": [object()]}])
def test_what_could_not_be_read_back_is_not_written(tmp_path, value):
    with pytest.raises(TypeError, match=r"checkpoint\['hooks'\]\['Mine'\]"):
        save_checkpoint(tmp_path / "model.pth", {"hooks": {"Mine": value}})
    assert not list(tmp_path.iterdir())


def test_classes():
    check_classes({"classes": ["a", "b"]}, ["a", "b"], "model.pth")
    with pytest.raises(SegkitError, match=r"3 classes, the data has 2.*only in the checkpoint: c"):
        check_classes({"classes": ["a", "b", "c"]}, ["a", "b"], "model.pth")
    with pytest.raises(SegkitError, match=r"only in the checkpoint: c; only in the data: b"):
        check_classes({"classes": ["a", "c"]}, ["a", "b"], "model.pth")
    with pytest.raises(SegkitError, match=r"another order"):
        check_classes({"classes": ["b", "a"]}, ["a", "b"], "model.pth")


def test_another_model_or_optimizer(run, tmp_path):
    state = read_checkpoint(run / "model_final.pth")
    other = {**state, "model": {**state["model"], "layers.0.weight": torch.zeros(9, 9)}}
    with pytest.raises(SegkitError, match=r"another model.*\n.*layers.0.weight"):
        restore(make_trainer(tmp_path), other)
    trainer = make_trainer(tmp_path)
    trainer.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)]})
    with pytest.raises(SegkitError, match=r"optimizer does not fit"):
        restore(trainer, state)


def test_what_changed_is_a_warning(run, tmp_path, caplog):
    state = read_checkpoint(run / "model_final.pth")
    state["hooks"]["Gone"] = {"n": 1}
    with caplog.at_level(logging.WARNING):
        make_trainer(tmp_path, iterations=20, state=state)
    assert "max_iterations was 12" in caplog.text and "hook Gone" in caplog.text


def test_rng_states_come_back():
    import random

    state = rng_state()
    first = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), np.random.randn())
    set_rng_state(state)
    assert first == (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), np.random.randn())


def test_a_resumed_run_goes_on_with_the_generators(tmp_path):
    """Each step has a seed of its own; what hooks draw between steps continues."""
    import random

    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    state = training_state(make_trainer(tmp_path))
    first = draw()
    make_trainer(tmp_path, state=state)
    assert draw() == first


def test_a_resumed_run_goes_on_with_the_scaler(tmp_path):
    trainer = make_trainer(tmp_path, precision="fp16")
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 8.0, "_growth_tracker": 3})
    state = training_state(trainer)
    assert state["scaler"]["scale"] == 8
    assert make_trainer(tmp_path, precision="fp16", state=state).scaler.state_dict() == state["scaler"]
    assert make_trainer(tmp_path, state=state).scaler.state_dict() == {}, "fp32 now"


def test_best_checkpoint_with_a_metric_that_is_not_there(tmp_path):
    with pytest.raises(SegkitError, match=r"train.best_metric.*'segm/AP5'.*segm/AP'"):
        make_trainer(tmp_path, best_metric="segm/AP5").train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))  # with the right metric, the run resumes
    make_trainer(tmp_path, state=state).train()
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 3, 4, 6, 8, 9, 12]


def test_without_validation_there_is_no_best_checkpoint(tmp_path):
    make_trainer(tmp_path, val_loader=None).train()
    assert not (tmp_path / "model_best.pth").exists()
    assert not any("segm/AP" in line for line in lines(tmp_path))
