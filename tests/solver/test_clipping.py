import math

import pytest
import torch
from torch import nn

from segkit.solver.clipping import clip_gradients


def parameters(*gradients):
    found = []
    for gradient in gradients:
        found.append(nn.Parameter(torch.zeros(len(gradient))))
        found[-1].grad = torch.tensor(gradient)
    return [*found, nn.Parameter(torch.zeros(2))]  # one without a gradient


def flat(found):
    return [value for p in found if p.grad is not None for value in p.grad.tolist()]


def test_by_value_and_by_norm():
    found = parameters([3.0, -4.0], [0.5])
    assert clip_gradients(found, max_value=1.0).item() == pytest.approx(math.sqrt(25.25))
    assert flat(found) == [1.0, -1.0, 0.5]
    found = parameters([3.0, -4.0], [0.0])
    assert clip_gradients(found, max_norm=0.5).item() == 5.0
    assert flat(found) == pytest.approx([0.3, -0.4, 0.0], rel=1e-4)
    found = parameters([0.3, -0.4])
    assert clip_gradients(found, max_norm=1.0, max_value=1.0).item() == pytest.approx(0.5)
    assert flat(found) == pytest.approx([0.3, -0.4])


def test_both_bounds_hold():
    found = parameters([30.0, -4.0, 0.1])
    clip_gradients(found, max_norm=1.0, max_value=2.0)
    assert math.hypot(*flat(found)) == pytest.approx(1.0, rel=1e-3) and max(map(abs, flat(found))) <= 2


@pytest.mark.parametrize("max_value", [None, 0.1])
def test_it_equals_torchs_to_the_bit(max_value):
    torch.manual_seed(1)
    gradients = [torch.randn(size).tolist() for size in (1, 3, 8, 40, 1000)]
    ours, theirs = parameters(*gradients), parameters(*gradients)
    norm = nn.utils.get_total_norm([p.grad for p in theirs[:-1]])
    if max_value is not None:
        nn.utils.clip_grad_value_(theirs, max_value)
    nn.utils.clip_grad_norm_(theirs, 1.0)
    assert torch.equal(clip_gradients(ours, max_norm=1.0, max_value=max_value), norm)
    assert flat(ours) == flat(theirs)


def test_no_gradient_at_all():
    assert clip_gradients(parameters(), max_norm=1.0, max_value=1.0) == 0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_is_not_finite_is_seen_in_the_norm(bad):
    assert not torch.isfinite(clip_gradients(parameters([1.0, bad]), max_value=1.0))
