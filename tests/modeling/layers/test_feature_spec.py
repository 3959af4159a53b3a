"""Wrong out_features of a backbone raise errors that name them."""

from __future__ import annotations

import collections

import pytest
import torch
from torch import nn

from segkit.config.loader import load_config
from segkit.modeling.build import build_model
from segkit.modeling.layers.feature_spec import FeatureSpec, check_maps
from segkit.modeling.necks import FPN
from segkit.modeling.proposals.anchors import AnchorGenerator
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError

ShapeSpec = collections.namedtuple("ShapeSpec", ["channels", "height", "width", "stride"], defaults=[None] * 4)
GOOD = {"stage1": FeatureSpec(4, 4), "stage2": FeatureSpec(6, 8)}


class SegTestNet(nn.Module):
    """Two maps, of strides 4 and 8."""

    published: object = GOOD

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 6, 2, stride=2)
        self.out_features = type(self).published

    def forward(self, x):
        x = self.first(x)
        return {"stage1": x, "stage2": self.second(x)}


@pytest.fixture
def build(monkeypatch):
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "SegTestNet", SegTestNet)

    def build(published):
        monkeypatch.setattr(SegTestNet, "published", published)
        specs = published.values() if isinstance(published, dict) else []
        strides = [getattr(spec, "stride", None) for spec in specs]
        levels = ", ".join(f"p{s.bit_length() - 1}" for s in strides if isinstance(s, int)) or "p2"
        overrides = ["model.backbone={name: SegTestNet}", "model.neck={name: FPN, out_channels: 8, top_block: null}",
                     "model.proposal_generator.anchor_generator={name: AnchorGenerator, sizes: [[16], [32]]}",
                     f"model.roi_heads.box_head={{name: FastRCNNHead, levels: [{levels}], fc_dims: [8]}}",
                     "model.roi_heads.mask_head=null", "data.classes=[a]"]  # fmt: skip
        return build_model(load_config("segkit://quickstart.yaml", overrides)).eval()

    return build


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"stage1": 4, "stage2": 6}, r"out_features\['stage1'\] is given as 4; expected FeatureSpec\(channels="),
        ({"stage1": (4, 4)}, r"is given as \(4, 4\); expected FeatureSpec"),
        ({"stage1": {"channels": 4, "stride": 4}}, r"is given as \{'channels': 4, 'stride': 4\}; expected FeatureSpec"),
        ([FeatureSpec(4, 4)], r"SegTestNet\.out_features is a list; expected a dictionary"),
        (["stage1"], r"is a list; expected a dictionary"),
        ({}, r"is empty; expected a dictionary"),
        (None, r"is a NoneType; expected a dictionary"),
        ({"stage1": ShapeSpec(channels=4)}, r"is given as ShapeSpec\(channels=4.*stride=None\)"),
        ({"stage1": FeatureSpec(4, 4.5)}, r"is given as stride=4\.5"),
        ({"stage1": FeatureSpec("4", 4)}, r"is given as channels='4'"),
        ({"stage1": FeatureSpec(0, 4)}, r"is given as channels=0"),
        ({4: FeatureSpec(4, 4)}, r"has the key 4; keys are the maps' names"),
    ],
)  # fmt: skip
def test_wrong_types(build, published, message):
    with pytest.raises(SegkitError, match=r"^model\.backbone: .*" + message):
        build(published)


def test_detectron2s_shape_spec_will_do(build):
    model = build({"stage1": ShapeSpec(channels=4, stride=4), "stage2": ShapeSpec(channels=6, stride=8)})
    assert len(model.predict([torch.zeros(3, 64, 64)])) == 1


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({"stage1": FeatureSpec(5, 4), "stage2": FeatureSpec(6, 8)}, r"'stage1' has 4 channels, .* says channels=5"),
        ({"stage1": FeatureSpec(4, 4), "stage3": FeatureSpec(6, 8)}, r"returns the maps \['stage1', 'stage2'\].*'stage3'"),
        ({"stage1": FeatureSpec(4, 8), "stage2": FeatureSpec(6, 16)},
         r"'stage1' of an image of 64 x 96 .* 16 x 24, a stride of about 4; out_features says stride=8"),
        ({"stage1": FeatureSpec(4, 2), "stage2": FeatureSpec(6, 4)}, r"a stride of about 4; out_features says stride=2"),
        ({"stage2": FeatureSpec(6, 4), "stage1": FeatureSpec(4, 8)}, r"'stage2' .* a stride of about 8; .* stride=4"),
    ],
)  # fmt: skip
def test_returned_maps_are_compared_with_out_features(build, published, message):
    model = build(published)
    with pytest.raises(SegkitError, match=message):
        model.predict([torch.zeros(3, 64, 96)])


@pytest.mark.parametrize(("maps", "message"), [
    ([torch.zeros(1, 4, 16, 16)], r"returns a list; expected a dictionary of the maps \['stage1', 'stage2'\]"),
    ({"stage1": torch.zeros(4, 16, 16)}, r"returns \[4, 16, 16\] as 'stage1'"),
    ({"stage1": None}, r"returns NoneType as 'stage1'"),
])  # fmt: skip
def test_values_that_are_no_maps_raise(maps, message):
    with pytest.raises(SegkitError, match=message):
        check_maps(SegTestNet(), maps, (64, 64))


@pytest.mark.parametrize("rounding", [lambda side, stride: -(-side // stride), lambda side, stride: side // stride])
def test_rounding_is_no_mistake(rounding):
    for size in ((33, 47), (1, 1), (7, 255), (640, 333)):
        maps = {
            name: torch.zeros(1, s.channels, *(max(1, rounding(side, s.stride)) for side in size))
            for name, s in GOOD.items()
        }
        check_maps(SegTestNet(), maps, size)


@pytest.mark.parametrize("component", [FPN, AnchorGenerator])
def test_without_a_configuration(component):
    with pytest.raises(SegkitError, match=r"^in_features\['a'\] is given as 4; expected FeatureSpec"):
        component({"a": 4})
