"""FPN's arithmetic. What holds for every neck: ../test_registries.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.necks import FPN
from segkit.registry import NECK_REGISTRY
from segkit.utils.errors import SegkitError

IN = {
    "stage1": FeatureSpec(8, 4),
    "stage2": FeatureSpec(16, 8),
    "stage3": FeatureSpec(24, 16),
    "stage4": FeatureSpec(32, 32),
}


def maps(height: int, width: int, in_features=IN) -> dict[str, torch.Tensor]:
    """Feature maps of a backbone that rounds sizes up."""
    torch.manual_seed(0)
    return {
        name: torch.randn(2, spec.channels, -(-height // spec.stride), -(-width // spec.stride))
        for name, spec in in_features.items()
    }


@pytest.mark.parametrize("size", [(64, 96), (75, 69)])
def test_equals_torchvision(size):
    neck = FPN(IN, out_channels=12)
    reference = FeaturePyramidNetwork([s.channels for s in IN.values()], 12, LastLevelMaxPool())
    for i in range(4):
        for layer in ("weight", "bias"):
            getattr(reference.inner_blocks[i][0], layer).data = getattr(neck.lateral_convs[i], layer).data
            getattr(reference.layer_blocks[i][0], layer).data = getattr(neck.output_convs[i], layer).data
    ours, theirs = neck(maps(*size)), reference(maps(*size))
    for one, two in zip(ours.values(), theirs.values(), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_top_blocks():
    assert list(FPN(IN, top_block=None).out_features) == ["p2", "p3", "p4", "p5"]
    assert list(FPN(IN, top_block="maxpool").out_features) == ["p2", "p3", "p4", "p5", "p6"]
    p6p7 = FPN(IN, out_channels=4, top_block="p6p7")
    assert [spec.stride for spec in p6p7.out_features.values()] == [4, 8, 16, 32, 64, 128]
    pyramid = p6p7(maps(256, 128))
    assert pyramid["p6"].shape[-2:] == (4, 2) and pyramid["p7"].shape[-2:] == (2, 1)
    assert torch.equal(pyramid["p7"], p6p7.top_convs[1](F.relu(pyramid["p6"])))


def test_names_follow_the_strides():
    some = {name: IN[name] for name in ("stage2", "stage3")}
    assert list(FPN(some).out_features) == ["p3", "p4", "p5"]
    assert list(FPN({"x": FeatureSpec(3, 8)}, top_block=None)(maps(64, 64, {"x": FeatureSpec(3, 8)}))) == ["p3"]


@pytest.mark.parametrize("norm", ["bn", "gn", "frozen_bn", "sync_bn"])
def test_norms_replace_biases(norm):
    neck = FPN(IN, out_channels=16, norm=norm)
    assert all(m.bias is None for m in neck.modules() if isinstance(m, torch.nn.Conv2d))
    neck(maps(64, 64))


def test_mistakes_raise_errors_with_a_suggestion():
    with pytest.raises(SegkitError, match=r"model\.neck: top_block is 'max'; valid: maxpool, p6p7, null"):
        NECK_REGISTRY.build({"name": "FPN", "top_block": "max"}, path="model.neck", in_features=IN)
    with pytest.raises(SegkitError, match="out_channels is 0"):
        FPN(IN, out_channels=0)
    with pytest.raises(SegkitError, match=r"twice the stride .* \[4, 16\]"):
        FPN({"stage1": IN["stage1"], "stage3": IN["stage3"]})
