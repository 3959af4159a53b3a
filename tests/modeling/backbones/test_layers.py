"""Norms and freezing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.modeling.layers.freezing import eval_frozen, freeze_parameters, freeze_stages
from segkit.modeling.layers.frozen_bn import FrozenBatchNorm2d
from segkit.modeling.layers.norm import make_norm, replace_batch_norms
from segkit.utils.errors import SegkitError


def trained_batch_norm(channels: int = 6) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-3)
    nn.init.uniform_(norm.weight, -2, 2)
    nn.init.normal_(norm.bias)
    for _ in range(3):
        norm(3 * torch.randn(4, channels, 5, 5) + 1)
    return norm.eval()


@pytest.mark.parametrize("requires_grad", [False, True])
def test_frozen_batch_norm_equals_batch_norm_in_eval_mode(requires_grad):
    torch.manual_seed(0)
    norm = trained_batch_norm()
    frozen = FrozenBatchNorm2d(6, eps=1e-3)
    frozen.load_state_dict(norm.state_dict())
    x = torch.randn(2, 6, 7, 5, requires_grad=requires_grad)
    assert torch.allclose(frozen(x), norm(x), atol=1e-5)
    if requires_grad:
        expected = torch.autograd.grad(norm(x).square().sum(), x)[0]
        assert torch.allclose(torch.autograd.grad(frozen(x).square().sum(), x)[0], expected, atol=1e-4)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_frozen_batch_norm_keeps_half_precision(requires_grad):
    x = torch.randn(2, 6, 4, 4).bfloat16().requires_grad_(requires_grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert FrozenBatchNorm2d(6)(x).dtype == torch.bfloat16


def test_frozen_batch_norm_has_no_parameters_and_loads_its_own_state():
    frozen = FrozenBatchNorm2d(3)
    assert not list(frozen.parameters())
    frozen.load_state_dict(frozen.state_dict())
    assert set(nn.BatchNorm2d(3).state_dict()) - set(frozen.state_dict()) == {"num_batches_tracked"}


def test_make_norm():
    assert make_norm("gn", 48).num_groups == 16
    assert make_norm("gn", 7).num_groups == 1
    with pytest.raises(SegkitError, match="did you mean 'bn'"):
        make_norm("bnn", 8)


def test_replace_batch_norms_keeps_the_eps():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(nn.BatchNorm2d(8, eps=0.01)))
    replace_batch_norms(net, "frozen_bn")
    assert isinstance(net[1][0], FrozenBatchNorm2d) and net[1][0].eps == 0.01


def test_freeze_stages_and_eval_mode():
    stages = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout()) for _ in range(3)]
    net = nn.ModuleList(stages)
    freeze_stages(stages, 1)
    assert [p.requires_grad for p in net.parameters()] == [False] * 8 + [True] * 4
    net.train()
    eval_frozen(net)
    assert [stage.training for stage in stages] == [False, False, True]
    assert not stages[0][2].training and stages[2][2].training  # dropout inside a frozen block does not drop


def test_a_frozen_norm_inside_a_trained_block_keeps_its_statistics():
    block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    freeze_parameters(block, ["1.*"])
    block.train()
    eval_frozen(block)
    assert block.training and block[0].training and not block[1].training


def test_freeze_parameters_names_the_parts_when_nothing_is_near():
    with pytest.raises(SegkitError, match=r"matches 'xyz'.* 0\.bias, 0\.weight"):
        freeze_parameters(nn.Sequential(nn.Conv2d(3, 3, 1)), ["xyz"])


def test_sync_batch_norm_is_batch_norm_in_one_process():
    """With and without a process group; torch's layer requires CUDA in a process group."""
    x = torch.randn(2, 6, 5, 5)
    norm = trained_batch_norm().train()
    synced = make_norm("sync_bn", 6, eps=1e-3)
    synced.load_state_dict(norm.state_dict())
    assert torch.equal(synced(x), norm(x)) and torch.equal(synced.eval()(x), norm.eval()(x))
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert torch.equal(synced.train()(x), norm.train()(x))
    finally:
        torch.distributed.destroy_process_group()
    for one, two in zip(synced.state_dict().items(), norm.state_dict().items(), strict=True):
        assert one[0] == two[0] and torch.equal(one[1], two[1])


@pytest.mark.gpu
def test_sync_batch_norm_on_a_gpu():
    x = torch.randn(2, 6, 5, 5, device="cuda")
    torch.testing.assert_close(make_norm("sync_bn", 6).cuda()(x), make_norm("bn", 6).cuda()(x))


def test_replace_batch_norms_keeps_the_momentum():
    net = nn.Sequential(nn.BatchNorm2d(8, eps=0.01, momentum=0.003))
    replace_batch_norms(net, "sync_bn")
    assert (type(net[0]).__name__, net[0].eps, net[0].momentum) == ("SyncBatchNorm2d", 0.01, 0.003)
    with pytest.raises(SegkitError, match="did you mean 'sync_bn'"):
        replace_batch_norms(net, "sync_bm")
