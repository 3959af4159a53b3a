"""Every registered backbone keeps its promises; a new one is tested by being registered."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.modeling.backbones import Backbone
from segkit.modeling.backbones.resnet import ARCHS
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.registry import BACKBONE_REGISTRY, signature_of
from segkit.utils.errors import SegkitError

NAMES = [name for name in BACKBONE_REGISTRY.names() if not name.startswith("_")]
STAGED = [name for name in NAMES if issubclass(BACKBONE_REGISTRY.get(name), Backbone)]


def example(name: str) -> dict:
    """The arguments that a backbone names for its tests."""
    return dict(getattr(BACKBONE_REGISTRY.get(name), "examples", ({},))[0])


def build(name: str, **arguments) -> nn.Module:
    torch.manual_seed(0)
    return BACKBONE_REGISTRY.build({"name": name, **example(name), **arguments})


@pytest.mark.parametrize("name", NAMES)
def test_returns_the_maps_it_publishes(name):
    backbone = build(name).eval()
    for height, width in ((64, 96), (69, 75), (33, 32)):
        features = backbone(torch.randn(1, 3, height, width))
        assert list(features) == list(backbone.out_features)
        for key, spec in backbone.out_features.items():
            batch, channels, h, w = features[key].shape
            assert (batch, channels) == (1, spec.channels)
            # Of odd sizes, each halving may round up or down.
            assert abs(h - height / spec.stride) < 1 and abs(w - width / spec.stride) < 1, key


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_finite_gradient_and_the_state_round_trips(name):
    backbone = build(name)
    features = backbone(torch.randn(2, 3, 64, 64))
    sum(feature.square().mean() for feature in features.values()).backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name

    torch.manual_seed(1)
    other = BACKBONE_REGISTRY.build({"name": name, **example(name)})
    other.load_state_dict(backbone.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for one, two in zip(backbone.eval()(image).values(), other.eval()(image).values(), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("name", NAMES)
def test_the_global_seed_decides_the_start_values(name):
    for one, two in zip(build(name).parameters(), build(name).parameters(), strict=True):
        assert torch.equal(one, two)


ALL_ARCHS = [
    *(("ConvNeXt", {"arch": arch}) for arch in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large")),
    *(("ResNet", {"arch": arch}) for arch in ARCHS),
    *(("EfficientNetV2", {"arch": arch}) for arch in ("s", "m", "l")),
]


@pytest.mark.parametrize(("name", "arguments"), ALL_ARCHS)
def test_full_size_on_the_meta_device(name, arguments):
    with torch.device("meta"):
        backbone = BACKBONE_REGISTRY.build({"name": name, **arguments}).eval()
        features = backbone(torch.empty(1, 3, 128, 160))
    for key, spec in backbone.out_features.items():
        assert features[key].shape == (1, spec.channels, 128 // spec.stride, 160 // spec.stride)
    assert [spec.stride for spec in backbone.out_features.values()] == [4, 8, 16, 32]


@pytest.mark.parametrize("name", STAGED)
def test_trainable_stages_counts_from_the_output(name, caplog):
    counts = []
    for trainable in (0, 1, 3, 5):
        with torch.device("meta"):
            backbone = build(name, trainable_stages=trainable)
        stages = backbone.stages
        assert len(stages) == 5
        for i, stage in enumerate(stages):
            assert all(p.requires_grad == (i >= 5 - trainable) for p in stage.parameters())
        counts.append(sum(p.numel() for stage in stages for p in stage.parameters() if p.requires_grad))
    assert counts[0] == 0 and counts == sorted(set(counts))
    assert counts[-1] == sum(p.numel() for stage in stages for p in stage.parameters())
    assert "random values" in caplog.text


@pytest.mark.parametrize("name", STAGED)
def test_stages_hold_everything_once(name):
    with torch.device("meta"):
        backbone = build(name)
    ids = [id(p) for stage in backbone.stages for p in stage.parameters()]
    assert len(ids) == len(set(ids))
    norms = {id(p) for p in getattr(backbone, "output_norms", nn.Module()).parameters()}
    assert set(ids) | norms == {id(p) for p in backbone.parameters()}


@pytest.mark.parametrize("name", STAGED)
def test_frozen_part_stays_in_eval_mode_and_keeps_nothing_for_backward(name):
    backbone = build(name, trainable_stages=2).train()
    stem, first, second, third, last = backbone.stages
    for stage, training in ((stem, False), (first, False), (second, False), (third, True), (last, True)):
        assert all(child.training == training for child in stage if any(True for _ in child.parameters()))
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    features = backbone(torch.randn(2, 3, 64, 64))
    if name != "ConvNeXt":  # there the output norms train
        assert [f.requires_grad for f in features.values()] == [False, False, True, True]
    frozen = {id(b) for stage in (stem, first, second) for b in stage.buffers()}
    for key, buffer in backbone.named_buffers():
        if key in before:
            assert torch.equal(buffer, before[key]) == (id(buffer) in frozen), key
    assert not any(module.training for module in backbone.eval().modules())


def test_all_frozen_means_all_in_eval_mode():
    backbone = build("TinyNet", trainable_stages=0).train()
    assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize("bad", [-1, 6])
def test_trainable_stages_out_of_range(bad):
    with pytest.raises(SegkitError, match=r"0 .* to 5"):
        build("TinyNet", trainable_stages=bad)


def test_freeze_patterns_of_the_study():
    backbone = build("ConvNeXt", freeze=["features.0.*", "features.1.*", "features.2.*"])
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (not name.startswith(("features.0.", "features.1.", "features.2."))), name
    whole_layers = build("ConvNeXt", freeze=["features.0", "features.1", "features.2"])
    assert [p.requires_grad for p in whole_layers.parameters()] == [p.requires_grad for p in backbone.parameters()]


def test_freeze_pattern_without_a_match():
    with pytest.raises(SegkitError, match=r"'stgae1\.\*'.*did you mean 'stage1\.\*'"):
        build("TinyNet", freeze=["stgae1.*"])


@pytest.mark.parametrize("name", STAGED)
def test_out_stages(name):
    with torch.device("meta"):
        full = build(name)
        part = build(name, out_stages=["stage2", "stage3"])
    assert part.out_features == {k: full.out_features[k] for k in ("stage2", "stage3")}
    assert len(part.stages) == 4
    features = part(torch.randn(1, 3, 64, 64, device="meta"))
    assert list(features) == ["stage2", "stage3"]
    sum(f.sum() for f in features.values()).backward()
    assert all(p.grad is not None for p in part.parameters())  # the last stage is gone


def test_out_stages_that_are_none():
    with pytest.raises(SegkitError, match="did you mean 'stage2'"):
        build("TinyNet", out_stages=["stge2"])
    with pytest.raises(SegkitError, match="out_stages is empty"):
        build("TinyNet", out_stages=[])


@pytest.mark.parametrize(("name", "bad", "message"), [
    ("ConvNeXt", {"arch": "tinyy"}, "did you mean 'tiny'"),
    ("ResNet", {"arch": 20}, "18, 34, 50, 101, 152"),
    ("ResNet", {"norm": "frozn_bn"}, "did you mean 'frozen_bn'"),
    ("EfficientNetV2", {"arch": "b0"}, "valid: l, m, s"),
    ("EfficientNetV2", {"drop_path": 1.0}, "drop_path is 1.0"),
    ("ConvNeXt", {"drop_path": -0.1}, "drop_path is -0.1"),
    ("ResNet", {"drop_path": 1.0}, "drop_path is 1.0"),
    ("TinyNet", {"width": 1}, "width is 1"),
    ("TinyNet", {"in_channels": 0}, "in_channels is 0"),
    ("TinyNet", {"depths": (1, 1, 1)}, "four numbers"),
    ("TinyNet", {"depths": (2**31, 1, 1, 1)}, "four numbers from 1 to 1000"),
    ("TinyNet", {"widht": 8}, "did you mean 'width'"),
])  # fmt: skip
def test_mistakes_raise_errors_with_a_suggestion(name, bad, message):
    with pytest.raises(SegkitError, match=message):
        BACKBONE_REGISTRY.build({"name": name, **bad})


@pytest.mark.parametrize("name", NAMES)
def test_config_arguments_are_keyword_only(name):
    assert not signature_of(BACKBONE_REGISTRY.get(name)).runtime


NORM_CLASSES = {
    "bn": "BatchNorm2d", "frozen_bn": "FrozenBatchNorm2d", "sync_bn": "SyncBatchNorm2d", "gn": "GroupNorm"
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "norm" in signature_of(BACKBONE_REGISTRY.get(name)).options]
)
def test_norms(name):
    for norm, kind in NORM_CLASSES.items():
        with torch.device("meta"):
            backbone = build(name, norm=norm)
        names = {type(m).__name__ for m in backbone.modules()}
        assert names.intersection(NORM_CLASSES.values()) == {kind}


@pytest.mark.parametrize("norm", NORM_CLASSES)
def test_norms_train(norm):
    backbone = build("ResNet", norm=norm, out_stages=["stage2"])
    backbone(torch.randn(2, 3, 64, 64))["stage2"].square().mean().backward()
    kind = NORM_CLASSES[norm]
    for name, module in backbone.named_modules():
        for parameter in module.parameters(recurse=False):
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            if type(module).__name__ == kind:  # a frozen norm has no parameters
                assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("name", "arguments"), [
    ("ConvNeXt", {"layer_scale": 1.0}),
    ("ResNet", {}),
    ("TorchvisionBackbone", {"arch": "efficientnet_b0"}),
])  # fmt: skip
def test_drop_path_drops_in_training_only(name, arguments):
    backbone = build(name, drop_path=0.9, **arguments)
    image = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        for module in backbone.modules():  # in training, batch statistics would differ too
            module.training = "Norm" not in type(module).__name__
        assert not torch.equal(backbone(image)["stage4"], backbone(image)["stage4"])
        backbone.eval()
        assert torch.equal(backbone(image)["stage4"], backbone(image)["stage4"])


@pytest.mark.parametrize("name", STAGED)
@pytest.mark.parametrize("in_channels", [1, 5])
def test_in_channels(name, in_channels):
    backbone = build(name, in_channels=in_channels, out_stages=["stage1"])
    assert backbone.in_channels == in_channels
    backbone(torch.randn(2, in_channels, 32, 32))["stage1"].square().mean().backward()
    assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("name", STAGED)
def test_gradient_checkpointing_changes_nothing_but_the_memory(name):
    backbones = [build(name, out_stages=["stage1", "stage2"], gradient_checkpointing=on) for on in (False, True)]
    image = torch.randn(2, 3, 64, 64)
    for backbone in backbones:
        torch.manual_seed(1)  # of dropped paths
        sum(f.square().mean() for f in backbone(image).values()).backward()
    plain, recomputed = backbones
    for (key, one), two in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, msg=lambda text, key=key: f"{key}: {text}")
    for (key, one), two in zip(plain.named_buffers(), recomputed.buffers(), strict=True):  # statistics, and counts
        assert torch.equal(one, two), key


def test_gradient_checkpointing_leaves_frozen_stages_alone():
    backbone = build("TinyNet", gradient_checkpointing=True, trainable_stages=2)
    runs = []
    for i, stage in enumerate(backbone.stages):
        next(m for m in stage.modules() if isinstance(m, nn.Conv2d)).register_forward_hook(
            lambda *_, i=i: runs.append(i)
        )
    backbone(torch.randn(2, 3, 64, 64))["stage4"].mean().backward()
    assert sorted(runs) == [0, 1, 2, 3, 3, 4, 4]
    runs.clear()
    with torch.no_grad():
        backbone(torch.randn(2, 3, 64, 64))
    assert runs == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast(name):
    backbone = build(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = backbone(torch.randn(1, 3, 64, 64))
    assert all(torch.isfinite(f.float()).all() for f in features.values())


def test_a_users_backbone_needs_no_base_class():
    class Plain(nn.Module):
        def __init__(self, *, width: int = 8) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, width, 3, stride=4, padding=1)
            self.out_features = {"stage1": FeatureSpec(width, 4)}

        def forward(self, x):
            return {"stage1": self.conv(x)}

    BACKBONE_REGISTRY.register(Plain, name="_Plain")
    try:
        assert BACKBONE_REGISTRY.build({"name": "_Plain", "width": 4}).out_features["stage1"].channels == 4
    finally:
        BACKBONE_REGISTRY._obj_map.pop("_Plain")
