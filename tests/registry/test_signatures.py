"""Signatures that are not written as segkit's: each works, or the message says what to do."""

from __future__ import annotations

import functools
import sys
import textwrap
from dataclasses import dataclass

import pytest

from segkit.config.describe import describe_components
from segkit.config.loader import load_config, load_config_dict
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.registry import (
    ALL_REGISTRIES,
    HOOK_REGISTRY,
    NECK_REGISTRY,
    OPTIMIZER_REGISTRY,
    SCHEDULE_REGISTRY,
    TRANSFORM_REGISTRY,
    Registry,
    Slot,
)
from segkit.utils.errors import SegkitError

PART = Registry("PART", runtime=["num_classes", "in_features"])


class Forgotten:
    def __init__(self, in_features, width=8, depth=1):
        self.values = (in_features, width, depth)


class Required:
    def __init__(self, radius, *, p=0.5):
        self.values = (radius, p)


class Extra:
    def __init__(self, *args, scale: int = 2, **kwargs):
        self.values = (args, scale, kwargs)


class Base:
    def __init__(self, in_features, *, width: int = 8, norm: str = "bn"):
        self.values = (in_features, width, norm)


class HandsOn(Base):
    def __init__(self, *args, extra: int = 1, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = extra


class Fixes(Base):
    def __init__(self, in_features, **kwargs):
        super().__init__(in_features, norm="gn", **kwargs)


@dataclass
class Data:
    width: int = 4
    name_: str = "x"

    @property
    def values(self):
        return (self.width, self.name_)


class OnlyPositional:
    def __init__(self, a=1, /, b=2):
        self.values = (a, b)


class WithFactories:
    def __init__(self, *, width: int = 1):
        self.values = (width,)

    @classmethod
    def wide(cls, *, factor: int = 3):
        return cls(width=10 * factor)


def function(in_features, width: int = 5):
    return Data(width)


@pytest.mark.parametrize(
    ("component", "arguments", "expected"),
    [
        (Forgotten, {}, ("maps", 8, 1)),
        (Forgotten, {"width": 16, "depth": 3}, ("maps", 16, 3)),
        (Required, {"radius": 3}, (3, 0.5)),
        (Extra, {"scale": 3, "anything": [1]}, ((), 3, {"anything": [1]})),
        (HandsOn, {"width": 3}, ("maps", 3, "bn")),
        (HandsOn, {"norm": "gn", "extra": 4}, ("maps", 8, "gn")),
        (Fixes, {"width": 2}, ("maps", 2, "gn")),
        (Data, {"width": 9}, (9, "x")),
        (OnlyPositional, {"a": 5}, (5, 2)),
        (functools.partial(Forgotten, depth=7), {"width": 2}, ("maps", 2, 7)),
        (WithFactories.wide, {"factor": 2}, (20,)),
        (function, {"width": 6}, (6, "x")),
    ],
)
def test_it_works(component, arguments, expected):
    registry = Registry("PART", runtime=["num_classes", "in_features"])
    registry.register(component, name="Mine")
    made = registry.build({"name": "Mine", **arguments}, in_features="maps", num_classes=3)
    assert made.values == expected


def test_a_registry_that_does_not_know_its_builders_values_takes_them_from_the_builder():
    registry = Registry("PART")
    registry.register(Forgotten)
    assert registry.build({"name": "Forgotten", "depth": 4}, in_features="maps").values == ("maps", 8, 4)


@pytest.mark.parametrize(
    ("component", "arguments", "message"),
    [
        (Forgotten, {"in_features": 1}, r"'in_features' of Mine is set by the builder.*put a \* before"),
        (Forgotten, {"widht": 1}, r"part\.widht: Mine has no argument 'widht'; did you mean 'width'\?"),
        (Required, {}, r"Mine needs the argument 'radius', which is neither in the configuration nor"),
        (HandsOn, {"colour": 1}, r"Mine, which passes \*\*kwargs.*: .*unexpected keyword argument 'colour'"),
        (Fixes, {"norm": "bn"}, r"Mine, which passes \*\*kwargs.*: .*multiple values .*'norm'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(component, arguments, message):
    registry = Registry("PART", runtime=["num_classes", "in_features"])
    registry.register(component, name="Mine")
    with pytest.raises(SegkitError, match=message):
        registry.build({"name": "Mine", **arguments}, path="part", in_features="maps")


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (sys, r"expected a class, or a function that makes a part; given <module 'sys' .* of the type module"),
        (Data(), r"given Data\(.*of the type Data. For an object register its class"),
        ("Name", r"given 'Name' of the type str.*register\(name='MyName'\)"),
        (3, r"given 3 of the type int"),
        (lambda: Data(), r"has no name; give register\(\.\.\., name='MyName'\)"),
        (functools.partial(Data, width=1), r"Data has no name; give register"),
        (None.__class__, None),
    ],
)
def test_what_is_no_component_is_refused_when_it_is_registered(thing, message):
    registry = Registry("PART", runtime=[])
    if message is None:
        assert registry.register(thing) is thing
        return
    with pytest.raises(SegkitError, match=message):
        registry.register(thing)


class Named:
    def __init__(self, *, name: int = 3):
        self.values = (name,)


def test_a_parameter_called_like_the_key_of_the_component():
    registry = Registry("PART", runtime=[])
    registry.register(Named)
    assert registry.build({"name": "Named"}).values == (3,)
    registry.register(lambda *, name: Data(), name="Function")
    with pytest.raises(SegkitError, match=r"Function has a parameter 'name', and that key .* rename the parameter"):
        registry.build({"name": "Function"})
    with pytest.raises(SegkitError, match=r"rename the parameter"):
        registry.signature("Function")


def test_two_components_of_a_name():
    registry = Registry("PART", runtime=[])
    registry.register(functools.partial(Data, width=1), name="Mine")
    registry.register(functools.partial(Data, width=1), name="Mine")  # a notebook cell, run again
    for other in (functools.partial(Data, width=2), Data, Base, function):
        with pytest.raises(SegkitError, match=r"'Mine' is registered already, by .*Data; .* needs another name"):
            registry.register(other, name="Mine")
    assert registry.build({"name": "Mine"}).width == 1


@pytest.mark.parametrize(("registry", "name", "own"), [
    (OPTIMIZER_REGISTRY, "adamw", "AdamW"), (TRANSFORM_REGISTRY, "randomhorizontalflip", "RandomHorizontalFlip"),
    (SCHEDULE_REGISTRY, "cosine", "Cosine"), (TRANSFORM_REGISTRY, "torchvision.Resize", "Resize"),
    (NECK_REGISTRY, "fpn", "FPN"), (NECK_REGISTRY, "segkit.modeling.necks.FPN", "FPN"),
])  # fmt: skip
def test_segkits_own_component_is_suggested_before_torchs(registry, name, own):
    with pytest.raises(SegkitError, match=rf"'{name}'.*{own}'"):
        registry.get(name)


def test_a_class_written_in_c_says_what_to_do():
    registry = Registry("PART", runtime=[])
    registry.register(type, name="Type")
    with pytest.raises(
        SegkitError, match=r"part\.name: builtins\.type: its parameters cannot be read .*register a function"
    ):
        registry.build({"name": "Type"})


MODULE = """
    from __future__ import annotations
    from typing import TYPE_CHECKING, Annotated, Optional
    from segkit.registry import Registry, Slot
    if TYPE_CHECKING:
        import numpy as nothing
        from elsewhere import Body
    BODY = Registry("BODY", runtime=[])
    class Part:
        def __init__(self, in_features: nothing.ndarray, *, width: int = 3, image: nothing.Image | None = None,
                     body: Annotated[Body, Slot(BODY)] = None, sizes: Optional[nothing.T[int]] = None):
            self.width, self.body = width, body
    class Lost:
        def __init__(self, *, body: Annotated[nothing.Body, Slot(BODY)] = None): ...
"""


def test_annotations_for_type_checkers_only(tmp_path, monkeypatch):
    (tmp_path / "seg_test_checked.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import seg_test_checked as module

    registry = Registry("PART", runtime=["in_features"])
    registry.register(module.Part)
    registry.register(module.Lost)
    module.BODY.register(Data)
    schema = registry.signature("Part")
    assert schema.annotations["width"] is int and isinstance(schema.slots["body"], Slot)
    made = registry.build({"name": "Part", "width": 5, "body": {"name": "Data", "width": 2}}, in_features=0)
    assert (made.width, made.body) == (5, Data(2))
    with pytest.raises(SegkitError, match=r"Lost: cannot read its annotations: body: .*outside of `if TYPE_CHECKING`"):
        registry.build({"name": "Lost"})


def test_a_wrong_kind_of_class_is_told_when_it_is_built():
    registry = Registry("PART", runtime=[], makes=["values", "forward"])
    registry.register(Data)
    with pytest.raises(SegkitError, match=r"^part: Data makes a Data, which is no part: it has no 'forward'$"):
        registry.build({"name": "Data"})


QUICK = "_BASE_: segkit://quickstart.yaml\nimports: [seg_test_forgotten]\n"


def test_in_a_configuration(tmp_path, monkeypatch, request):
    """Checked, completed, described and repeated by the saved configuration."""
    (tmp_path / "seg_test_forgotten.py").write_text(
        "from segkit.registry import HOOK_REGISTRY, NECK_REGISTRY, TRANSFORM_REGISTRY\n"
        "from segkit.modeling.necks import FPN\n"
        "@NECK_REGISTRY.register\n"
        "class SegTestNeck(FPN):\n"
        "    def __init__(self, *args, tag=1, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n"
        "        self.tag = tag\n"
        "@TRANSFORM_REGISTRY.register\n"
        "class SegTestTransform:\n"
        "    def __init__(self, radius: int = 3): self.radius = radius\n"
        "    def __call__(self, sample, generator): return sample\n"
        "@HOOK_REGISTRY.register\n"
        "class SegTestHook:\n"
        "    def __init__(self, period, scale: float = 1.0): self.period, self.scale = period, scale\n"
    )
    for registry, name in (
        (NECK_REGISTRY, "SegTestNeck"),
        (TRANSFORM_REGISTRY, "SegTestTransform"),
        (HOOK_REGISTRY, "SegTestHook"),
    ):
        request.addfinalizer(functools.partial(registry._obj_map.pop, name, None))
    (tmp_path / "run.yaml").write_text(
        QUICK + "model: {neck: {name: SegTestNeck, out_channels: 24, tag: 5}}\n"
        "data: {train_transforms: [{name: SegTestTransform, radius: 9}]}\nhooks: [{name: SegTestHook}]\n"
    )
    cfg = load_config(tmp_path / "run.yaml")
    again = load_config_dict(cfg.to_dict())
    for found in (cfg, again):
        assert (found.model.neck.out_channels, found.model.neck.tag) == (24, 5)
        assert found.data.train_transforms[0].radius == 9 and found.hooks[0].scale == 1.0
    maps = {"stage1": FeatureSpec(4, 4), "stage2": FeatureSpec(8, 8)}
    neck = NECK_REGISTRY.build(cfg.model.neck, in_features=maps, num_classes=3)
    assert neck.tag == 5 and neck.out_features["p2"] == FeatureSpec(24, 4)
    text = describe_components("SegTestNeck")
    assert "out_channels" in text and "**kwargs" in text
    with pytest.raises(SegkitError, match=r"radius \(command line\): expected an integer"):
        load_config(tmp_path / "run.yaml", ["data.train_transforms=[{name: SegTestTransform, radius: x}]"])
    with pytest.raises(SegkitError, match=r"'period' of SegTestHook is set by the builder.*put a \* before it"):
        load_config(tmp_path / "run.yaml", ["hooks=[{name: SegTestHook, period: 3}]"])


@pytest.mark.parametrize("registry", ALL_REGISTRIES, ids=lambda r: r.title)
def test_every_registry_takes_a_forgotten_star(registry):
    """Against the registry's own list of the builder's values."""
    assert registry.runtime is not None
    scratch = Registry(registry.title, key=registry.key, runtime=sorted(registry.runtime))

    class Mine:
        def __init__(self, strength: int = 2) -> None:
            self.strength = strength

    scratch.register(Mine)
    runtime = dict.fromkeys(registry.runtime, 0)
    assert scratch.build({scratch.key: "Mine", "strength": 7}, **runtime).strength == 7
    for name in registry.names():
        schema = registry.signature(name)
        positional = [p.name for p in schema.options.values() if p.kind is not p.KEYWORD_ONLY]
        assert set(schema.runtime) <= registry.runtime and not positional, f"{name}: the builder has no {positional}"
