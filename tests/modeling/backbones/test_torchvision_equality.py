"""Our backbones compute what torchvision's classifiers do, with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models import feature_extraction

from segkit.modeling.backbones import ConvNeXt, EfficientNetV2, ResNet

CASES = {
    "convnext_tiny": (
        lambda weights: ConvNeXt(arch="tiny", weights=weights, output_norm=False),
        ["features.1", "features.3", "features.5", "features.7"],
    ),
    "resnet18": (lambda weights: ResNet(arch=18, weights=weights), ["layer1", "layer2", "layer3", "layer4"]),
    "resnet50": (lambda weights: ResNet(arch=50, weights=weights), ["layer1", "layer2", "layer3", "layer4"]),
    "efficientnet_v2_s": (
        lambda weights: EfficientNetV2(arch="s", weights=weights),
        ["features.2", "features.3", "features.5", "features.6"],
    ),
}


def randomized(name: str) -> nn.Module:
    """torchvision's classifier, all its parameters and statistics away from their start values."""
    torch.manual_seed(3)
    model = models.get_model(name, weights=None)
    for key, tensor in model.state_dict().items():
        if key.endswith("layer_scale"):
            tensor.copy_(torch.rand_like(tensor))
        elif key.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand_like(tensor))
        elif key.endswith(("running_mean", "bias")):
            tensor.copy_(0.1 * torch.randn_like(tensor))
    return model.eval()


@pytest.mark.parametrize("name", CASES)
def test_same_features_as_torchvision(name, tmp_path):
    build, layers = CASES[name]
    reference = randomized(name)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    backbone = build(str(tmp_path / "weights.pth")).eval()
    extractor = feature_extraction.create_feature_extractor(reference, layers)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, features = extractor(image), backbone(image)
    for layer, key in zip(layers, ("stage1", "stage2", "stage3", "stage4"), strict=True):
        difference = (expected[layer] - features[key]).abs().max()
        assert difference <= 1e-5 * max(1.0, float(expected[layer].abs().max())), key


def test_same_gradients_as_torchvision():
    torch.manual_seed(0)
    backbone = ConvNeXt(arch="atto", layer_scale=1.0, output_norm=False)
    image = torch.randn(2, 3, 64, 64)
    backbone(image)["stage4"].square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in backbone.named_parameters()}
    backbone.zero_grad()
    backbone.features(image).square().mean().backward()  # torchvision's own layers, channels first
    for name, p in backbone.named_parameters():
        assert torch.allclose(p.grad, gradients[name], atol=1e-5 * max(1.0, float(p.grad.abs().max()))), name


@pytest.mark.parametrize(("arch", "parameters"), [("atto", 3.4), ("femto", 4.8), ("pico", 8.5), ("nano", 15.0)])
def test_small_sizes_have_the_papers_parameter_counts(arch, parameters):
    with torch.device("meta"):
        count = sum(p.numel() for p in ConvNeXt(arch=arch, output_norm=False).parameters())
    assert count / 1e6 == pytest.approx(parameters, abs=0.25)


def test_study_freezing_matches_children_of_features():
    """ "5 trainable layers" freezes children 0 to 2 of torchvision's ``features``, "3" children 0 to 4."""
    with torch.device("meta"):
        for last in (2, 4):
            backbone = ConvNeXt(
                arch="base", weights="IMAGENET1K_V1", freeze=[f"features.{i}.*" for i in range(last + 1)]
            )
            frozen = {n for n, p in backbone.features.named_parameters() if not p.requires_grad}
            assert frozen == {n for n, _ in backbone.features.named_parameters() if int(n.split(".")[0]) <= last}
