"""Networks of torchvision's, taken apart."""

from __future__ import annotations

import copy
import pickle
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from torchvision.models import feature_extraction
from torchvision.ops import StochasticDepth

from segkit.modeling.backbones import TorchvisionBackbone
from segkit.modeling.backbones.network_stages import split_into_stages
from segkit.utils.errors import SegkitError

Expected = namedtuple("Expected", "nodes channels channels_last")
# What each stage ends with, by torchvision's names; and the maps' channels.
FAMILIES = {
    "mobilenet_v3_small": Expected(["features.1", "features.3", "features.8", "features.12"], [16, 24, 48, 576], 0),
    "regnet_y_400mf": Expected([f"trunk_output.block{i}" for i in (1, 2, 3, 4)], [48, 104, 208, 440], 0),
    "shufflenet_v2_x0_5": Expected(["maxpool", "stage2", "stage3", "conv5"], [24, 48, 96, 1024], 0),
    "efficientnet_b0": Expected([f"features.{i}" for i in (2, 3, 5, 8)], [24, 40, 112, 1280], 0),
    "swin_t": Expected(["features.1", "features.3", "features.5", "permute"], [96, 192, 384, 768], 3),
}


def randomized(arch: str) -> nn.Module:
    """A classifier with statistics away from their start values."""
    network = models.get_model(arch, weights=None)
    for key, tensor in network.state_dict().items():
        if key.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand_like(tensor))
        elif key.endswith(("running_mean", "bias")):
            tensor.copy_(0.1 * torch.randn_like(tensor))
    return network.eval()


@pytest.mark.parametrize("arch", FAMILIES)
def test_same_maps_as_the_network_with_its_weights(arch, tmp_path):
    network, expected = randomized(arch), FAMILIES[arch]
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = TorchvisionBackbone(arch=arch, weights=str(tmp_path / "weights.pth"))
    assert [spec.channels for spec in backbone.out_features.values()] == expected.channels
    assert [spec.stride for spec in backbone.out_features.values()] == [4, 8, 16, 32]
    assert backbone.training and all(module.training for module in backbone.modules())
    backbone.eval()
    image = torch.randn(1, 3, 69, 75)
    extractor = feature_extraction.create_feature_extractor(network, expected.nodes)
    with torch.no_grad():
        maps, features = extractor(image), backbone(image)
    for i, (node, feature) in enumerate(zip(expected.nodes, features.values(), strict=True)):
        expected_map = maps[node].permute(0, 3, 1, 2) if i < expected.channels_last else maps[node]
        torch.testing.assert_close(feature, expected_map, atol=1e-4, rtol=1e-4)


def test_copies_and_pickles():
    backbone = TorchvisionBackbone(arch="mobilenet_v3_small", out_stages=["stage2"]).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = backbone(image)["stage2"]
        for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
            assert list(other.state_dict()) == list(backbone.state_dict())
            assert torch.equal(other(image)["stage2"], expected)
            next(other.parameters()).zero_()  # its own
            assert not torch.equal(other(image)["stage2"], expected)
        assert torch.equal(backbone(image)["stage2"], expected)


def test_training_and_evaluation_differ_as_they_should():
    """One graph serves both: batch norms and dropped paths follow the mode."""
    backbone = TorchvisionBackbone(arch="efficientnet_b0", drop_path=0.5, out_stages=["stage2"])
    drops = [m.p for m in backbone.modules() if isinstance(m, StochasticDepth)]
    assert drops == pytest.approx([0.5 * 2 / 15, 0.5 * 4 / 15])  # of 16 blocks, those with a shortcut
    image = torch.randn(2, 3, 64, 64)
    before = backbone.get_buffer("stem.features.0.1.running_mean").clone()
    backbone(image)
    assert not torch.equal(backbone.get_buffer("stem.features.0.1.running_mean"), before)
    backbone.eval()
    assert torch.equal(backbone(image)["stage2"], backbone(image)["stage2"])


def test_weights_of_a_classifier_for_other_classes_and_of_another_network(tmp_path):
    path = str(tmp_path / "weights.pth")
    network = models.mobilenet_v3_small(num_classes=7)
    torch.save(network.state_dict(), path)
    backbone = TorchvisionBackbone(arch="mobilenet_v3_small", weights=path, norm="frozen_bn", out_stages=["stage1"])
    assert torch.equal(backbone.stem.get_parameter("features.0.0.weight"), network.features[0][0].weight)
    with pytest.raises(SegkitError, match="another architecture than this TorchvisionBackbone"):
        TorchvisionBackbone(arch="shufflenet_v2_x0_5", weights=path)


def test_weights_by_name(monkeypatch):
    state = models.mobilenet_v3_small().state_dict()
    monkeypatch.setattr(models.MobileNet_V3_Small_Weights, "get_state_dict", lambda self, **_: state)
    backbone = TorchvisionBackbone(arch="mobilenet_v3_small", weights="DEFAULT", in_channels=1)
    for name, tensor in backbone.state_dict().items():
        original = state[name.partition(".")[2]]
        stem = name == "stem.features.0.0.weight"
        torch.testing.assert_close(tensor, original.sum(1, keepdim=True) if stem else original)
    with pytest.raises(SegkitError, match="did you mean 'IMAGENET1K_V1'"):
        TorchvisionBackbone(arch="mobilenet_v3_small", weights="IMAGENET1K_V3")


@pytest.mark.parametrize(("arguments", "message"), [
    ({"arch": "resnet5"}, "did you mean 'resnet50'"),
    ({"arch": "maskrcnn_resnet50_fpn"}, "no classification network 'maskrcnn_resnet50_fpn'"),
    ({"arch": "vit_b_32"}, r"'vit_b_32' cannot be a backbone: .* 64 x 96 .*Expected 224"),
    ({"arch": "squeezenet1_1"}, r"'squeezenet1_1' cannot be a backbone: .*strides \[\]; needed are 4, 8, 16 and 32"),
    ({"arch": "shufflenet_v2_x0_5", "drop_path": 0.1}, "'shufflenet_v2_x0_5' has no paths to drop"),
    ({"arch": "efficientnet_b0", "drop_path": 1.0}, "drop_path is 1.0"),
    ({"arch": "convnext_tiny", "norm": "gn"}, "'convnext_tiny' has no batch norms that norm 'gn' could replace"),
    ({"arch": "mobilenet_v3_small", "norm": "bnn"}, "did you mean 'bn'"),
])  # fmt: skip
def test_mistakes_raise_errors_with_a_suggestion(arguments, message):
    with torch.device("meta"), pytest.raises(SegkitError, match=message):
        TorchvisionBackbone(**arguments)


class Odd(nn.Module):
    """A value of the first stage goes round the second: no cut there, and one in the middle of a block is no stage's end."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 2, stride=2))
        self.block2 = nn.Sequential(nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 2, stride=2))
        self.block3 = nn.Conv2d(16, 16, 2, stride=2)
        self.block4 = nn.Conv2d(16, 16, 2, stride=2)

    def forward(self, x):
        one = self.block1(x)
        two = torch.cat([self.block2(one), F.avg_pool2d(one, 2)], 1)
        return self.block4(self.block3(two)).mean((2, 3))


def test_stages_end_where_nothing_passes_by():
    parts = split_into_stages(Odd())
    assert [cut.stride for _, cut in parts] == [2, 4, 8, 16, 32]
    assert [cut.channels for _, cut in parts] == [8, 8, 16, 16, 16]
    names = [sorted({name.rpartition(".")[0] for name in part.state_dict()}) for part, _ in parts]
    assert names == [["block1.0"], ["block1.2"], ["block2.0", "block2.1"], ["block3"], ["block4"]]
