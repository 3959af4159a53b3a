"""ResNet, ResNeXt and Wide ResNet: stochastic depth, strides, errors."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torchvision import models
from torchvision.ops import StochasticDepth

from segkit.modeling.backbones import ResNet
from segkit.modeling.backbones.resnet import ARCHS
from segkit.utils.errors import SegkitError

KIN = [arch for arch in ARCHS if isinstance(arch, str)]


def test_stride_in_1x1_is_the_first_convolution_s():
    """A bottleneck against its arithmetic, written out."""
    backbone = ResNet(arch=50, stride_in_1x1=True, norm="frozen_bn")  # new frozen norms change next to nothing
    block = backbone.layer2[0]
    x = torch.randn(1, 256, 9, 7)
    with torch.no_grad():
        out = F.relu(block.bn1(F.conv2d(x, block.conv1.weight, stride=2)))
        out = F.relu(block.bn2(F.conv2d(out, block.conv2.weight, padding=1)))
        out = block.bn3(F.conv2d(out, block.conv3.weight))
        shortcut = block.downsample[1](F.conv2d(x, block.downsample[0].weight, stride=2))
        torch.testing.assert_close(block(x), F.relu(out + shortcut))
    assert {m.stride for m in backbone.layer1.modules() if hasattr(m, "kernel_size")} == {(1, 1)}


def test_stride_in_1x1_keeps_the_parameters_names_and_shapes():
    with torch.device("meta"):
        states = [ResNet(arch=101, stride_in_1x1=value).state_dict() for value in (False, True)]
    one, two = ({name: tensor.shape for name, tensor in state.items()} for state in states)
    assert one == two


def test_stride_in_1x1_needs_bottlenecks():
    with pytest.raises(SegkitError, match="arch 34 has none"):
        ResNet(arch=34, stride_in_1x1=True)


def test_stride_in_1x1_is_not_for_torchvisions_weights():
    with pytest.raises(SegkitError, match=r"'IMAGENET1K_V1' are torchvision's.*stride_in_1x1 to false"):
        ResNet(arch=50, stride_in_1x1=True, weights="IMAGENET1K_V1")


@pytest.mark.parametrize("arch", KIN)
def test_kin_have_torchvisions_parameters(arch):
    with torch.device("meta"):
        backbone, reference = ResNet(arch=arch), models.get_model(arch, weights=None)
    expected = {name: tensor.shape for name, tensor in reference.state_dict().items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in backbone.state_dict().items()} == expected
    for name, module in backbone.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.groups == reference.get_submodule(name).groups, name


def test_kin_take_their_weights_by_name(monkeypatch):
    state = ResNet(arch="resnext50_32x4d").state_dict()
    monkeypatch.setattr(models.ResNeXt50_32X4D_Weights, "get_state_dict", lambda self, **_: state)
    backbone = ResNet(arch="resnext50_32x4d", weights="IMAGENET1K_V2")
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.state_dict().items())
    assert all(models.get_model_weights(arch).DEFAULT is not None for arch in KIN)


def test_drop_path_grows_linearly_and_adds_no_parameters():
    with torch.device("meta"):
        plain, dropping = ResNet(arch=18), ResNet(arch=18, drop_path=0.4)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    drops = [m.p for m in dropping.modules() if isinstance(m, StochasticDepth)]
    assert drops == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])
    assert not any(isinstance(m, StochasticDepth) for m in plain.modules())


def test_dropped_branches_leave_the_shortcut():
    block = ResNet(arch=18, drop_path=0.5).layer1[1].train()
    block.drop_path.p = 1.0
    x = torch.randn(2, 64, 5, 5)
    assert torch.equal(block(x), F.relu(x))


def test_freezing_loaded_weights_does_not_warn(tmp_path, caplog):
    torch.save(ResNet(arch=18).state_dict(), tmp_path / "resnet.pth")
    with caplog.at_level(logging.WARNING):
        ResNet(arch=18, weights=str(tmp_path / "resnet.pth"), trainable_stages=3)
    assert not caplog.text
