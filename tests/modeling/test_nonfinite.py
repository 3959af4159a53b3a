"""Predictions that are not finite name the faulty layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import segkit
from segkit.modeling.backbones import TinyNet
from segkit.modeling.nonfinite import (
    NotFiniteError,
    all_finite,
    first_not_finite,
    not_finite_state,
    require_finite,
    tensors_in,
)
from segkit.modeling.proposals.rpn import RPNOutput
from segkit.structures import Targets
from segkit.utils.errors import SegkitError

NAN = float("nan")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return segkit.mask_rcnn(
        TinyNet(width=8),
        num_classes=2,
        fpn_channels=16,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        mask_conv_dims=(16,),
        fc_dims=(32,),
        score_threshold=0.0,
    ).eval()


def image():
    return torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "parameter, layer",
    [
        ("backbone.stage3.0.conv2.weight", r"backbone\.stage3\.0\.conv2 \(Conv2d\), and neither is its own weight"),
        ("backbone.stage1.0.norm1.running_var", r"backbone\.stage1\.0\.norm1 \(BatchNorm2d\).*its own running_var"),
        ("proposal_generator.head.deltas.bias", r"proposals.*proposal_generator\.head\.deltas \(Conv2d\)"),
        ("roi_heads.box_head.fcs.0.weight", r"class scores.*roi_heads\.box_head\.fcs\.0 \(Linear\)"),
        ("roi_heads.mask_head.upsample.bias", r"masks' logits.*roi_heads\.mask_head\.upsample \(ConvTranspose2d\)"),
    ],
)
def test_prediction_names_the_layer(model, parameter, layer):
    tensor = model.state_dict()[parameter]
    tensor[(0,) * tensor.dim()] = NAN
    for predict in (
        lambda: model.predict([image()]),
        lambda: model.predict_with_losses([image()], [Targets.empty((64, 64))]),
    ):
        with pytest.raises(SegkitError, match=layer):
            predict()


def test_an_overflow_names_the_largest_input(model):
    with torch.no_grad():
        model.roi_heads.box_head.fcs[0].weight.fill_(1e38)
        model.roi_heads.box_head.fcs[0].bias.fill_(3e38)
    with pytest.raises(
        SegkitError, match=r"fcs\.0 \(Linear\); its weights and its input are, the input up to .* float32"
    ):
        model.predict([image()])


def test_an_image_that_is_not_finite(model):
    bad = image()
    bad[0, 3, 3] = NAN
    with pytest.raises(SegkitError, match=r"input of backbone\.stem\.0 \(Conv2d\) is not finite.*float images"):
        model.predict([image(), bad])


def test_finite_models_predict_as_before(model):
    assert len(model.predict([image()])[0]) > 0
    assert not any(module._forward_hooks for module in model.modules())


def test_the_check_changes_no_state():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)).train()
    nn.init.constant_(model[2].bias, NAN)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.ones(3, 2)
    assert first_not_finite(model, lambda: model(x)) == (
        "the first layer whose output is not finite is 2 (Linear), and neither is its own bias"
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items() if name != "2.bias")
    assert not any(module._forward_hooks for module in model.modules())
    assert not_finite_state(model) == ["2.bias"]
    nn.init.zeros_(model[2].bias)
    assert first_not_finite(model, lambda: model(x)) is None and not_finite_state(model) == []


def test_between_the_layers():
    """The output that a module computes after its submodules is attributed to the module."""

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Identity()

        def forward(self, x):
            return self.part(x).log()

    root = nn.Sequential(Root())
    assert "is 0 (Root)" in first_not_finite(root, lambda: root(-torch.ones(2)))


def test_nested_values():
    output = RPNOutput([torch.zeros(2, 4)], [torch.zeros(1, 2)], [torch.full((1, 2, 4), NAN)])
    assert len(list(tensors_in({"a": [output], "b": (torch.ones(2, dtype=torch.int64), None, "x")}))) == 3
    assert not all_finite(output) and all_finite(output.anchors)
    require_finite("boxes", torch.zeros(0, 4), torch.ones(3))
    with pytest.raises(NotFiniteError, match="boxes are NaN or infinite"):
        require_finite("boxes", torch.ones(3), torch.tensor([float("inf")]))


def test_training_skips_such_proposals(model):
    """Its losses show it; with fp16 a step that overflows is skipped, and the run continues."""
    with torch.no_grad():
        model.proposal_generator.head.deltas.bias[0] = NAN
    losses = model.train().losses([image()], [Targets.empty((64, 64))])
    assert torch.isfinite(losses["cls"])
