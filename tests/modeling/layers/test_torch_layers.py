"""Norms and activations by name, dotted path or with arguments."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from segkit.config.loader import load_config, load_config_dict
from segkit.config.typecheck import coerce, type_text
from segkit.modeling.build import build_model
from segkit.modeling.layers.activation import ActivationName, make_activation
from segkit.modeling.layers.norm import NormName, make_norm, replace_batch_norms
from segkit.registry import NECK_REGISTRY, ROI_BOX_HEAD_REGISTRY, RPN_HEAD_REGISTRY
from segkit.utils.errors import SegkitError


@pytest.mark.parametrize(
    ("norm", "own"),
    [
        ("torch.nn.BatchNorm2d", lambda: nn.BatchNorm2d(12, eps=1e-3, momentum=0.2)),
        ("torch.nn.InstanceNorm2d", lambda: nn.InstanceNorm2d(12, eps=1e-3, momentum=0.2)),
        ({"name": "torch.nn.GroupNorm", "num_groups": 4}, lambda: nn.GroupNorm(4, 12, eps=1e-3)),
        ({"name": "torch.nn.GroupNorm", "num_groups": 1, "eps": 0.1}, lambda: nn.GroupNorm(1, 12, eps=0.1)),
        ({"name": "torch.nn.LocalResponseNorm", "size": 3}, lambda: nn.LocalResponseNorm(3)),
        ("torchvision.ops.FrozenBatchNorm2d", None),
        ("torchvision.models.convnext.LayerNorm2d", None),
    ],
)
def test_norms(norm, own):
    layer = make_norm(norm, 12, eps=1e-3, momentum=0.2)
    x = torch.randn(2, 12, 6, 7)
    assert layer(x).shape == x.shape and layer.training
    if own is not None:
        other = own()
        assert type(layer) is type(other) and torch.equal(make_norm(norm, 12, 1e-3, 0.2)(x), other(x))
    assert type(pickle.loads(pickle.dumps(layer))) is type(layer)
    coerce(norm, NormName, "norm", "here")


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        ("bnn", r"there is no norm 'bnn'; did you mean 'bn'"),
        ("GroupNorm", r"there is no norm 'GroupNorm'; torch's own is 'torch\.nn\.GroupNorm'"),
        ("torch.nn.GropNorm", r"did you mean 'torch\.nn\.GroupNorm'"),
        ("torch.nn.GroupNorm", r"needs the argument 'num_groups': \{name: torch\.nn\.GroupNorm, num_groups"),
        ({"name": "torch.nn.GroupNorm", "groups": 3}, r"has no argument 'groups'; did you mean 'num_groups'"),
        ({"name": "torch.nn.BatchNorm2d", "num_features": 3}, r"'num_features' of .* is the number of channels"),
        ({"name": "torch.nn.GroupNorm", "num_groups": 5}, r"num_groups=5.* does not work here: ValueError"),
        ("torch.nn.LayerNorm", r"for \[B, C, H, W\] there is torchvision\.models\.convnext\.LayerNorm2d"),
        ("torch.nn.BatchNorm1d", r"does not work here: ValueError"),
        ("torch.nn.Conv2d", r"'torch\.nn\.Conv2d' is a layer .*no norm; valid: bn"),
        ("torch.optim.SGD", r"is no norm: a class of another kind"),
        ({"name": "gn", "num_groups": 3}, r"'gn' takes no arguments"),
        (3, r"expected the name of a norm or \{name: NAME"),
    ],
)
def test_mistakes_in_norms(norm, message):
    with pytest.raises(SegkitError, match=message):
        make_norm(norm, 12)


@pytest.mark.parametrize(
    ("activation", "own"),
    [
        ("relu", nn.ReLU()),
        ("gelu", nn.GELU()),
        ("silu", nn.SiLU()),
        ("torch.nn.Mish", nn.Mish()),
        ("torch.nn.Hardswish", nn.Hardswish()),
        ({"name": "torch.nn.LeakyReLU", "negative_slope": 0.3}, nn.LeakyReLU(0.3)),
        ("torch.nn.PReLU", nn.PReLU()),
        ("torch.nn.Identity", nn.Identity()),
    ],
)
def test_activations(activation, own):
    x = torch.linspace(-3, 3, 48).reshape(1, 3, 4, 4)
    layer = make_activation(activation)
    assert type(layer) is type(own) and torch.equal(layer(x), own(x))
    coerce(activation, ActivationName, "activation", "here")


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("rleu", r"there is no activation 'rleu'; did you mean 'relu'"),
        ("torch.nn.Mihs", r"did you mean 'torch\.nn\.Mish'"),
        ("Mish", r"torch's own is 'torch\.nn\.Mish'"),
        ("torch.nn.Softmax2d", r"does not work here"),
        ("torch.nn.GLU", r"does not work here"),
        ("torch.nn.BatchNorm2d", r"is a layer .*no activation"),
        ({"name": "torch.nn.LeakyReLU", "slope": 1}, r"has no argument 'slope'; valid: inplace, negative_slope"),
        ("torch.nn.MultiheadAttention", r"needs the argument 'embed_dim'"),
    ],
)
def test_mistakes_in_activations(activation, message):
    with pytest.raises(SegkitError, match=message):
        make_activation(activation)


def test_replaced_norms_may_be_classes():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, eps=1e-2))
    replace_batch_norms(net, {"name": "torch.nn.GroupNorm", "num_groups": 2})
    assert isinstance(net[1], nn.GroupNorm) and net[1].eps == 1e-2
    with pytest.raises(SegkitError, match="no norm 'sync_bm'"):
        replace_batch_norms(net, "sync_bm")


def test_components_use_the_selected_layers():
    cfg = load_config("segkit://quickstart.yaml", [
        "model.backbone={name: TinyNet, width: 8, norm: torch.nn.InstanceNorm2d, activation: torch.nn.Mish}",
        "model.neck={name: FPN, out_channels: 16, norm: {name: torch.nn.GroupNorm, num_groups: 2}}",
        "model.proposal_generator.head={name: RPNHead, activation: gelu}",
        "model.roi_heads.box_head={name: FastRCNNHead, levels: [p2, p3], fc_dims: [16], conv_dims: [8], norm: gn, "
        "activation: {name: torch.nn.LeakyReLU, negative_slope: 0.1}}",
        "model.roi_heads.mask_head={name: FCNMaskHead, levels: [p2, p3], conv_dims: [8], activation: silu}",
        "data.classes=[a, b]",
    ])  # fmt: skip
    assert load_config_dict(cfg.to_dict()).to_dict() == cfg.to_dict()
    found = [type(m).__name__ for m in build_model(cfg).modules()]
    for kind in ("InstanceNorm2d", "Mish", "GELU", "LeakyReLU", "SiLU", "GroupNorm"):
        assert kind in found
    assert "BatchNorm2d" not in found and "ReLU" not in found
    for override, message in (
        (
            "model.backbone.norm=torch.nn.Conv2d",
            r"model\.backbone\.norm \(command line\): 'torch\.nn\.Conv2d' is a layer",
        ),
        ("model.neck.norm=bnn", r"model\.neck\.norm \(command line\): there is no norm 'bnn'; did you mean 'bn'"),
        ("model.backbone.norm=5", r"model\.backbone\.norm \(command line\): expected 'bn' or .*, given 5"),
        ("model.backbone.activation=torch.nn.Softmax", r"model\.backbone"),
    ):
        with pytest.raises(SegkitError, match=message):
            build_model(load_config("segkit://quickstart.yaml", ["data.classes=[a]", override]))


def test_the_defaults_are_unchanged():
    for registry, name, key, default in (
        (NECK_REGISTRY, "FPN", "norm", None),
        (ROI_BOX_HEAD_REGISTRY, "FastRCNNHead", "norm", "bn"),
        (RPN_HEAD_REGISTRY, "RPNHead", "activation", "relu"),
    ):
        assert registry.signature(name).options[key].default == default
    assert type_text(NormName | None).startswith("'bn' or 'frozen_bn'") and type_text(NormName | None).endswith(
        "or null"
    )
