"""What is particular to the ResNet family."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segkit.modeling.backbones import ResNet
from segkit.utils.errors import SegkitError


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
