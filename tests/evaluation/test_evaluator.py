"""The loop: every batch once, modes restored, no gradients, the precision of the context."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from segkit.evaluation import CocoEvaluator, Evaluator, evaluate
from segkit.structures.detections import Detections
from segkit.structures.sample import Batch
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

from .helpers import detections, problem, run, sample


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = nn.BatchNorm2d(3).eval()
        self.layer = nn.Linear(2, 2)
        self.seen = []

    def predict(self, images, output_sizes):
        self.seen.append((self.training, torch.is_grad_enabled(), self.layer(torch.ones(1, 2)).dtype))
        return [detections([], [], [], size) for size in output_sizes]


class Recorder(Evaluator):
    def __init__(self, prefix):
        self.prefix = prefix

    def reset(self):
        self.ids, self.sizes = [], []

    def process(self, batch, detections):
        self.ids += batch.image_ids
        self.sizes += [d.size for d in detections]

    def evaluate(self):
        return {f"{self.prefix}/count": float(len(self.ids))}


LOADER = [Batch([sample(1, (20, 30)), sample(2, (5, 6))]), Batch([sample(3, (7, 8))])]


def test_every_image_once_in_file_size():
    model, evaluators = Model().train(), [Recorder("a"), Recorder("b")]
    model.frozen.eval()
    for _ in range(2):  # reset forgets the first
        metrics = evaluate(model, LOADER, evaluators, "cpu")
    assert metrics == {"a/count": 3.0, "b/count": 3.0}
    assert evaluators[0].ids == [1, 2, 3] and evaluators[0].sizes == [(20, 30), (5, 6), (7, 8)]
    assert model.seen == [(False, False, torch.float32)] * 4
    assert model.training and model.layer.training and not model.frozen.training


def test_the_models_time_is_that_of_all_processes(monkeypatch, caplog):
    """Two processes: this one has three images, and the other reports twelve seconds for its three."""
    monkeypatch.setattr(distributed, "gather", lambda share: [share, (share[0], share[1] + 12.0, *share[2:])])
    with caplog.at_level(logging.INFO):
        evaluate(Model(), LOADER, [], "cpu", losses=False)
    assert "evaluated 6 images" in caplog.text and "(model: 2.0" in caplog.text


def test_precision_context():
    model = Model()
    evaluate(model, LOADER, [Recorder("a")], "cpu", torch.autocast("cpu", dtype=torch.bfloat16))
    assert {dtype for *_, dtype in model.seen} == {torch.bfloat16}
    assert not torch.is_autocast_enabled("cpu")


def test_modes_are_restored_after_an_error():
    model = Model().train()

    def broken():
        yield LOADER[0]
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        evaluate(model, broken(), [Recorder("a")], "cpu")
    assert model.training and torch.is_grad_enabled()


def test_no_images():
    assert evaluate(Model(), [], [Recorder("a")], "cpu") == {"a/count": 0.0}


class Slow(Recorder):
    """Is slower than the model; ``fail`` is the batch at which it raises."""

    def __init__(self, prefix, error=None, fail=2):
        super().__init__(prefix)
        self.error, self.fail = error, fail

    def reset(self):
        super().reset()
        self.calls, self.threads, self.modes = 0, set(), set()

    def process(self, batch, detections):
        time.sleep(0.01)
        self.calls += 1
        self.threads.add(threading.current_thread())
        self.modes.add((torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))
        if self.error is not None and self.calls == self.fail:
            raise self.error
        super().process(batch, detections)


def batches(count):
    return [Batch([sample(i, (9, 9))]) for i in range(count)]


def test_evaluators_work_in_one_thread_in_the_order_of_the_batches():
    evaluator, model = Slow("a"), Model()
    ahead = []

    def loader():
        for batch in batches(12):
            ahead.append(len(model.seen) - evaluator.calls)
            yield batch

    context = torch.autocast("cpu", dtype=torch.bfloat16)
    assert evaluate(model, loader(), [evaluator], "cpu", context) == {"a/count": 12.0}
    assert evaluator.ids == list(range(12))
    assert len(evaluator.threads) == 1 and threading.current_thread() not in evaluator.threads
    assert evaluator.modes == {(True, False)}
    assert 1 <= max(ahead) <= 3  # one in work, one that waits, one given
    assert not any(thread.is_alive() for thread in evaluator.threads)


@pytest.mark.parametrize("error", [OSError("disk"), SegkitError("twice"), KeyboardInterrupt()])
def test_an_evaluators_error_is_raised_unchanged_and_soon(error):
    model, evaluator = Model().train(), Slow("a", error)
    with pytest.raises(type(error)) as caught:
        evaluate(model, batches(50), [evaluator], "cpu")
    assert caught.value is error
    assert evaluator.calls == 2 and len(model.seen) <= 5
    assert model.training and not torch.is_inference_mode_enabled()
    assert not any(thread.is_alive() for thread in evaluator.threads)


def test_an_error_at_the_last_batch_is_raised_too():
    error = OSError("disk")
    with pytest.raises(OSError, match="disk"):
        evaluate(Model(), batches(2), [Slow("a", error)], "cpu")


def test_an_error_of_the_loop_cancels_the_queued_calls():
    evaluator = Slow("a")

    def interrupted():
        yield from batches(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Model(), interrupted(), [evaluator], "cpu")
    assert evaluator.calls < 5 and evaluator.ids == list(range(evaluator.calls))
    assert not any(thread.is_alive() for thread in evaluator.threads)


class Masks(nn.Module):
    """A model whose detections are a function of the image alone."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def predict(self, images, output_sizes):
        found = []
        for size in output_sizes:
            low = torch.rand(30, 2, generator=torch.Generator().manual_seed(sum(size))) * 40
            boxes = torch.cat([low, low + 20], 1).to(self.layer.weight.device)
            probs = torch.sin(boxes[:, :, None] * boxes[:, None, :]).abs().repeat(1, 7, 7)
            found.append(Detections(boxes, boxes[:, 0] / 50, boxes[:, 1].long() % 2, probs, size))
        return found


def recorded(model, pairs, device):
    evaluator = CocoEvaluator(["a", "b"], [1, 2], 100)
    metrics = evaluate(model, [batch for batch, _ in pairs], [evaluator], device)
    return metrics, written(evaluator)


def written(evaluator):
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(evaluator.write_results(Path(folder) / "results.json").read_text())


def test_results_are_those_of_a_loop_without_a_thread():
    pairs, model = list(problem(3, num_classes=2)), Masks()
    with torch.inference_mode():
        inline = [(batch, model.predict(None, batch.sizes)) for batch, _ in pairs]
    evaluator = CocoEvaluator(["a", "b"], [1, 2], 100)
    metrics = run(evaluator, inline)
    assert len(written(evaluator)) == 30 * sum(len(batch) for batch, _ in pairs)
    assert recorded(model, pairs, "cpu") == (metrics, written(evaluator))


@pytest.mark.gpu
def test_results_on_cuda_are_those_of_the_cpu():
    pairs = list(problem(3, num_classes=2))
    here, there = (recorded(Masks().to(device), pairs, device) for device in ("cpu", "cuda"))
    assert there[0]["segm/AP"] == pytest.approx(here[0]["segm/AP"], abs=1e-3)
    assert len(there[1]) == len(here[1])
