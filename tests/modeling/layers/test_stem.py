"""Stems for other images than RGB."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import segkit
from segkit.modeling.backbones import ResNet, TinyNet
from segkit.modeling.layers.stem import adapt_stem_weight, replace_stem
from segkit.modeling.weights.loading import load_checkpoint
from segkit.registry import META_ARCH_REGISTRY
from segkit.structures import InstanceMasks, Targets
from segkit.utils.errors import SegkitError


def test_one_channel_answers_as_three_copies_of_it():
    weight, grey = torch.randn(8, 3, 3, 3), torch.randn(2, 1, 9, 9)
    expected = F.conv2d(grey.expand(-1, 3, -1, -1), weight)
    torch.testing.assert_close(F.conv2d(grey, adapt_stem_weight(weight, 1)), expected)


def test_more_channels_repeat_red_green_and_blue_at_the_same_size():
    weight = torch.randn(8, 3, 3, 3)
    assert torch.equal(adapt_stem_weight(weight, 3), weight)
    five = adapt_stem_weight(weight, 5)
    torch.testing.assert_close(five, weight[:, [0, 1, 2, 0, 1]] * 0.6)
    grey = torch.randn(2, 1, 9, 9)
    six = F.conv2d(grey.expand(-1, 6, -1, -1), adapt_stem_weight(weight, 6))
    torch.testing.assert_close(six, F.conv2d(grey.expand(-1, 3, -1, -1), weight))


@pytest.mark.parametrize("bias", [False, True])
def test_a_new_stem_is_as_the_old_but_for_its_channels(bias):
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=bias)))
    old = network[0][0]
    replace_stem(network, "0.0", 4)
    new = network[0][0]
    assert (new.in_channels, new.kernel_size, new.stride, new.padding) == (4, (7, 7), (2, 2), (3, 3))
    assert float((new.weight.std() / old.weight.std()).detach()) == pytest.approx(1, abs=0.05)
    assert (new.bias is not None) == bias and (not bias or torch.equal(new.bias, old.bias))


def test_pretrained_weights_are_adapted(tmp_path):
    rgb = ResNet(arch=18)
    torch.save(rgb.state_dict(), tmp_path / "weights.pth")
    backbone = ResNet(arch=18, weights=str(tmp_path / "weights.pth"), in_channels=2)
    assert torch.equal(backbone.conv1.weight, adapt_stem_weight(rgb.conv1.weight, 2))
    torch.save(backbone.state_dict(), tmp_path / "own.pth")  # made for as many channels: taken as they are
    again = ResNet(arch=18, weights=str(tmp_path / "own.pth"), in_channels=2)
    assert torch.equal(again.conv1.weight, backbone.conv1.weight)
    with pytest.raises(SegkitError, match=r"conv1\.weight is \[64, 2, 7, 7\], here \[64, 5, 7, 7\]"):
        ResNet(arch=18, weights=str(tmp_path / "own.pth"), in_channels=5)


def test_a_whole_model_for_four_channels_trains_and_predicts():
    mean, std = (0.5, 0.4, 0.3, 0.2), (0.2, 0.2, 0.2, 0.1)
    model = segkit.mask_rcnn(
        TinyNet(width=8, in_channels=4), 2, fpn_channels=8, mask_conv_dims=(8,), fc_dims=(8,), pixel_mean=mean, pixel_std=std
    )  # fmt: skip
    image = torch.randint(0, 256, (4, 64, 64), dtype=torch.uint8)
    dense = torch.zeros(1, 64, 64, dtype=torch.bool)
    dense[0, 10:40, 10:40] = True
    masks = InstanceMasks.from_dense(dense)
    losses = model.losses([image], [Targets(masks.boxes(), torch.tensor([1]), masks)])
    sum(losses.values()).backward()
    assert len(model.eval().predict([image])) == 1
    with pytest.raises(SegkitError, match=r"images\[0\]: expected a tensor \[4, H, W\]"):
        model.predict([image[:3]])


def test_a_checkpoint_for_rgb_is_adapted_when_it_starts_a_training(tmp_path):
    def build(channels):
        values = [0.5] * channels
        return segkit.mask_rcnn(
            TinyNet(width=8, in_channels=channels), 2, fpn_channels=8, mask_conv_dims=(8,), fc_dims=(8,), pixel_mean=values,
            pixel_std=values,
        )  # fmt: skip

    rgb, two = build(3), build(2)
    torch.save({"model": rgb.state_dict()}, tmp_path / "rgb.pth")
    with pytest.raises(SegkitError, match="another architecture"):
        load_checkpoint(two, tmp_path / "rgb.pth")
    report = load_checkpoint(two, tmp_path / "rgb.pth", on_mismatch="reinitialize")
    stem = f"{two.backbone.stem_path}.weight"
    expected = adapt_stem_weight(rgb.backbone.get_parameter(stem), 2)
    assert torch.equal(two.backbone.get_parameter(stem), expected) and not report.reinitialized
    assert report.changed == {f"backbone.{stem}": "from RGB to 2 channels"}


def test_a_mean_for_other_channels_raises():
    spec = {
        "name": "GeneralizedRCNN",
        "backbone": {"name": "TinyNet", "width": 8, "in_channels": 1},
        "neck": {"name": "FPN", "out_channels": 8},
        "proposal_generator": {
            "name": "RPN", "anchor_generator": {"name": "AnchorGenerator"}, "head": {"name": "RPNHead"}
        },
        "roi_heads": {
            "name": "StandardROIHeads", "box_head": {"name": "FastRCNNHead", "fc_dims": [8]}, "mask_head": None
        },
    }  # fmt: skip
    with pytest.raises(SegkitError, match=r"model: the backbone takes images of 1 channels.*pixel_std have 3 values"):
        META_ARCH_REGISTRY.build(spec, path="model", num_classes=2)
    grey = META_ARCH_REGISTRY.build({**spec, "pixel_mean": [0.4], "pixel_std": [0.2]}, path="model", num_classes=2)
    assert grey.pixel_mean.shape == (1, 1, 1)
