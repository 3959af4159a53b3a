"""Metrics between two lines: means, restored states, and losses that are not finite."""

import pytest
import torch

from segkit.engine.metrics import MAX_OVERFLOWS, Metrics
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


def test_a_restored_state_continues_with_the_same_means():
    metrics, again = Metrics(), Metrics()
    metrics.add({"a": torch.tensor(1.0)})
    metrics.log("lr", torch.tensor(2.0))
    again.load_state_dict(metrics.state_dict(), torch.device("cpu"))
    for m in (metrics, again):
        m.add({"a": torch.tensor(2.0), "b": torch.tensor(5.0)})
    assert again.read(2) == metrics.read(2) == {"a": 1.5, "b": 5.0, "lr": 2.0}


def test_steps_may_have_different_losses():
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
