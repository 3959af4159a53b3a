"""Gradient checkpointing of one part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.modeling.layers.norm import make_norm
from segkit.modeling.layers.recompute import recomputed


@pytest.mark.parametrize("norm", ["bn", "sync_bn"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_count_a_batch_once(norm, momentum):
    parts = []
    for again in (False, True):
        torch.manual_seed(0)
        part = nn.Sequential(nn.Conv2d(3, 8, 3), make_norm(norm, 8, momentum=momentum), nn.Dropout(0.5))
        x = torch.randn(2, 3, 8, 8, requires_grad=True)
        for _ in range(2):
            (recomputed(part, x, [part]) if again else part(x)).square().sum().backward()
        parts.append((part, x.grad))
    (one, grad), (two, other) = parts
    assert torch.equal(grad, other) and torch.equal(one[0].weight.grad, two[0].weight.grad)
    for (name, expected), buffer in zip(one.named_buffers(), two.buffers(), strict=True):
        assert torch.equal(buffer, expected), name
    assert two[1].num_batches_tracked == 2 and two[1].momentum == momentum


def test_backward_in_evaluation_mode_repeats_the_forward_of_training():
    part = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    x = torch.randn(2, 3, 8, 8)
    expected = torch.autograd.grad(part(x).square().sum(), part.parameters())
    loss = recomputed(part, x, [part]).square().sum()
    part.eval()
    for gradient, one in zip(torch.autograd.grad(loss, part.parameters()), expected, strict=True):
        assert torch.equal(gradient, one)
    assert not any(module.training for module in part.modules())


def test_nothing_is_kept_but_the_input():
    def kept(function) -> int:
        total = 0

        def note(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            function(torch.randn(1, 3, 32, 32))
        return total

    part = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(8)))
    assert kept(lambda x: recomputed(part, x, [part])) <= 3 * 32 * 32 < kept(part)


def test_the_second_run_is_under_the_same_autocast():
    part = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    x = torch.randn(2, 3, 8, 8)
    gradients = []
    for function in (part, lambda x: recomputed(part, x, [part])):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = function(x).float().square().sum()
        gradients.append(torch.autograd.grad(loss, part.parameters()))
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))
