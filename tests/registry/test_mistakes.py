"""Mistakes of extensions that only show when a component is made: each is told with what to do, or works."""

from __future__ import annotations

import abc
import functools
import pathlib

import numpy as np
import pytest
import torch
from torch import nn

from segkit.config.loader import load_config, load_config_dict
from segkit.data import Synthetic
from segkit.data.transforms import Compose
from segkit.modeling.layers.activation import make_activation
from segkit.modeling.layers.feature_spec import FeatureSpec, check_features
from segkit.modeling.layers.norm import make_norm
from segkit.registry import NECK_REGISTRY, OPTIMIZER_REGISTRY, TRANSFORM_REGISTRY, Registry
from segkit.utils.errors import SegkitError

MAPS = {"stage1": FeatureSpec(8, 4)}


class Forgetful(nn.Module):
    def __init__(self, in_features) -> None:
        self.out_features = in_features


class ForgetfulWithLayer(nn.Module):
    def __init__(self, in_features) -> None:
        self.layer = nn.ReLU()


class Lookup(nn.Module):
    @property
    def out_features(self):
        return {}["stage1"]


class Typo(nn.Module):
    @property
    def out_features(self):
        return self.maps


class Abstract(abc.ABC):
    @abc.abstractmethod
    def forward(self): ...


class Channels(nn.Module):
    def __init__(self, in_channels) -> None:
        super().__init__()


class Starred(nn.Module):
    def __init__(self, *, in_features, width: int = 3) -> None:
        super().__init__()
        self.out_features, self.width = in_features, width


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (Forgetful, r"Forgetful is a torch\.nn\.Module whose __init__ does not begin with super\(\)\.__init__\(\)"),
        (ForgetfulWithLayer, r"whose __init__ does not begin with super\(\)\.__init__\(\)"),
        (Lookup, r"out_features cannot be read: KeyError: 'stage1' \(in .*test_mistakes\.py, line \d+\)"),
        (Typo, r"out_features cannot be read: AttributeError: .* 'maps' \(in .*test_mistakes\.py, line \d+\)"),
        (Abstract, r"does not define .*forward"),
        (Channels, r"needs the argument 'in_channels'.* builder \(it has in_features, num_classes\)"),
        (nn.Identity, r"has no 'out_features'; define out_features = \{'stage1': FeatureSpec"),
    ],
)
def test_what_to_do_is_told(component, message, monkeypatch):
    monkeypatch.setitem(NECK_REGISTRY._obj_map, "Mine", component)
    with pytest.raises(SegkitError, match=message) as caught:
        NECK_REGISTRY.build({"name": "Mine"}, path="model.neck", in_features=MAPS, num_classes=2)
    assert str(caught.value).startswith("model.neck")


def test_a_value_of_the_builder_behind_the_star(monkeypatch):
    monkeypatch.setitem(NECK_REGISTRY._obj_map, "Starred", Starred)
    cfg = load_config("segkit://quickstart.yaml", ["model.neck={name: Starred, width: 5}"])
    made = NECK_REGISTRY.build(cfg.model.neck, path="model.neck", in_features=MAPS, num_classes=2)
    assert made.out_features is MAPS and made.width == 5


class Placed:
    def __init__(
        self, root: pathlib.Path = "a", other: pathlib.Path | None = None, device: torch.device = "cpu"
    ) -> None:
        self.root, self.other, self.device = root, other, device

    def __call__(self, sample, generator): ...


def test_types_that_yaml_does_not_have(monkeypatch):
    """A path is given as text; a saved configuration is read again where a default is not of its annotated type."""
    monkeypatch.setitem(TRANSFORM_REGISTRY._obj_map, "Placed", Placed)
    load = functools.partial(load_config, "segkit://quickstart.yaml")
    cfg = load(["data.train_transforms=[{name: Placed, other: b}]"])
    again = load_config_dict(cfg.to_dict())
    made = TRANSFORM_REGISTRY.build(again.data.train_transforms[0])
    assert (made.root, made.other, made.device) == (pathlib.Path("a"), pathlib.Path("b"), "cpu")
    with pytest.raises(
        SegkitError, match=r"device .*expected device, given the text 'cuda'; a configuration holds numbers"
    ):
        load(["data.train_transforms=[{name: Placed, device: cuda}]"])


class TakesModel(torch.optim.SGD):
    def __init__(self, model, lr=0.5, **kwargs) -> None:
        super().__init__(model.parameters(), lr=lr, **kwargs)


class SetsMomentum(torch.optim.SGD):
    def __init__(self, params, lr=0.5, **kwargs) -> None:
        super().__init__(params, lr=lr, momentum=0.75, **kwargs)


class Wraps(torch.optim.Optimizer):
    def __init__(self, params, rho=0.1, **kwargs) -> None:
        self.base = torch.optim.SGD(params, **kwargs)
        super().__init__(self.base.param_groups, {"rho": rho, **kwargs})


@pytest.mark.parametrize(("cls", "arguments", "expected"), [
    (TakesModel, {"lr": 0.25}, {"lr": 0.25}), (TakesModel, {"momentum": 0.5}, {"lr": 0.5, "momentum": 0.5}),
    (SetsMomentum, {"nesterov": True}, {"momentum": 0.75, "nesterov": True}), (Wraps, {"lr": 0.125}, {"lr": 0.125, "rho": 0.1}),
])  # fmt: skip
def test_optimizers_with_kwargs(cls, arguments, expected, monkeypatch):
    monkeypatch.setitem(OPTIMIZER_REGISTRY._obj_map, "Mine", cls)
    net = nn.Linear(2, 2)
    cfg = load_config("segkit://quickstart.yaml", [f"solver.optimizer={ {'name': 'Mine', **arguments} }"])
    made = OPTIMIZER_REGISTRY.build(cfg.solver.optimizer, path="here", model=net, params=list(net.parameters()))
    assert type(made) is cls and expected.items() <= made.param_groups[0].items()
    assert sum(len(group["params"]) for group in made.param_groups) == 2


class Affine(nn.Module):
    def __init__(self, dim, eps=1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, x):
        return x * self.weight


def test_norms_and_activations():
    assert make_norm(f"{__name__}.Affine", 12).weight.shape == (12, 1, 1)
    for make, given, message in (
        (
            lambda norm: make_norm(norm, 12),
            "torch.nn.LayerNorm",
            r"there is torchvision\.models\.convnext\.LayerNorm2d",
        ),
        (make_activation, "nn.Mish", r"no 'nn\.Mish'.*did you mean 'torch\.nn\.Mish'"),
        (make_activation, "leaky_relu", r"torch's own is 'torch\.nn\.LeakyReLU'"),
        (make_activation, {"name": "torch.nn.PReLU", "num_parameters": 8}, r"leave num_parameters out"),
        (make_activation, "torch.classes.a.B", r"there is no 'torch\.classes\.a\.B'"),
    ):
        with pytest.raises(SegkitError, match=message):
            make(given)


def test_whole_numbers_of_other_types():
    check_features({"stage1": FeatureSpec(np.int64(8), 4.0)}, "maps")
    assert type(FeatureSpec(8.0, np.int32(4)).channels) is type(FeatureSpec(8.0, np.int32(4)).stride) is int
    for wrong in (7.5, float("nan"), float("inf"), True, 0, "8"):
        with pytest.raises(SegkitError, match=r"with integers from 1 on"):
            check_features({"stage1": FeatureSpec(wrong, 4)}, "maps")


@pytest.mark.parametrize("result", [None, torch.zeros(3, 4, 5)], ids=["nothing", "image"])
def test_a_transform_that_returns_no_sample(result):
    class Mine:
        def __call__(self, sample, generator):
            return result

    with pytest.raises(SegkitError, match=rf"the transform Mine returns a {type(result).__name__}; expected a Sample"):
        Compose([Mine()])(Synthetic(num_images=1, image_size=(40, 40), max_size=20).load(0), torch.Generator())


def test_what_is_missing_is_told_with_a_hint():
    registry = Registry("PART", runtime=[], makes=["step"], hint="derive it from X")
    registry.register(nn.Identity)
    with pytest.raises(SegkitError, match=r"which is no part: it has no 'step'; derive it from X$"):
        registry.build({"name": "Identity"})
