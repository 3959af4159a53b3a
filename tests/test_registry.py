from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Optional

import pytest

from segkit.registry import ALL_REGISTRIES, Registry, Slot, SlotList, find_slot, signature_of
from segkit.utils.errors import SegkitError

BODY = Registry("BODY")
NECK = Registry("TEST_NECK")
HEAD = Registry("HEAD")
CAR = Registry("CAR")


@BODY.register
class Body:
    def __init__(self, *, width: int = 8) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, given {width}")
        self.out_features = {"a": width}


@NECK.register
class Neck:
    def __init__(self, in_features: dict[str, int], *, channels: int = 4) -> None:
        self.in_features, self.channels = in_features, channels
        self.out_features = {"n": channels}
        if channels == 13:
            raise SegkitError("no unlucky numbers", value=13, choices=["12", "14"])


@HEAD.register
class Head:
    def __init__(self, in_features: dict[str, int], num_classes: int, *, name_: str = "h") -> None:
        self.in_features, self.num_classes, self.name_ = in_features, num_classes, name_


@CAR.register
class Car:
    def __init__(
        self,
        num_classes: int,
        spare: int = 7,
        *,
        body: Annotated[Body, Slot(BODY, provides={"in_features": "out_features"})],
        neck: Annotated[Neck | None, Slot(NECK, provides={"in_features": "out_features"})] = None,
        heads: Annotated[Sequence[Head], SlotList(HEAD)] = (),
        speed: float = 1.0,
    ) -> None:
        self.num_classes, self.spare, self.body, self.neck, self.heads, self.speed = (
            num_classes,
            spare,
            body,
            neck,
            heads,
            speed,
        )


@pytest.fixture
def registry():
    return Registry("THING")


def test_every_form_of_registering_returns_the_object(registry):
    @registry.register
    class A: ...

    @registry.register()
    class B: ...

    @registry.register(name="C")
    class Other: ...

    class D: ...

    assert registry.register(D) is D
    assert registry.register(D, name="E") is D

    @registry.register
    def function(*, x: int = 1) -> int:
        return x

    assert [A.__name__, B.__name__, Other.__name__, function(x=3)] == ["A", "B", "Other", 3]
    assert registry.names() == ["A", "B", "C", "D", "E", "function"]
    assert registry.get("C") is Other and registry.get("E") is D and "A" in registry and "Other" not in registry
    assert [name for name, _ in registry] == registry.names()
    assert registry.build({"name": "function", "x": 5}) == 5


def test_a_second_component_of_a_name_is_refused_the_same_one_again_is_not(registry):
    registry.register(Body)
    registry.register(Body)
    with pytest.raises(SegkitError, match=r"THING.*'Body'.*\.Body.*\.Neck.*another name"):
        registry.register(Neck, name="Body")
    assert registry.get("Body") is Body

    def define() -> type:
        class Cell: ...

        return Cell

    registry.register(define())
    again = registry.register(define())  # a notebook's cell, run again
    assert registry.get("Cell") is again


def test_unknown_names_are_errors_with_the_nearest_names(registry):
    for name in ("ConvNeXt", "ResNet", "TinyNet"):
        registry.register(Body, name=name)
    with pytest.raises(SegkitError, match=r"thing.*'convnext'.*did you mean 'ConvNeXt'\?$") as caught:
        registry.get("convnext")
    assert set(caught.value.choices) == {"ConvNeXt", "ResNet", "TinyNet"} and caught.value.value == "convnext"
    with pytest.raises(SegkitError, match=r"valid: ConvNeXt, ResNet, TinyNet"):
        registry.get("zzzzzz")


def test_the_home_is_imported_at_the_first_look_up(tmp_path, monkeypatch):
    (tmp_path / "seg_test_home.py").write_text("import seg_test_registry as r\nr.REG.register(type('Late', (), {}))\n")
    (tmp_path / "seg_test_registry.py").write_text(
        "from segkit.registry import Registry\nREG = Registry('R', 'seg_test_home')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import seg_test_registry

    assert "seg_test_home" not in sys.modules
    assert "Late" in seg_test_registry.REG and "seg_test_home" in sys.modules
    broken = Registry("B", "seg_test_no_such_home")
    for _ in range(2):  # the second time too: a failed import is not taken for done
        with pytest.raises(ModuleNotFoundError, match="seg_test_no_such_home"):
            broken.names()


def test_build_fills_run_time_values_by_name_and_options_from_the_spec():
    car = CAR.build({"name": "Car", "speed": 2.0, "body": {"name": "Body", "width": 3}}, num_classes=5, unused=1)
    assert (car.num_classes, car.spare, car.speed, car.neck, len(car.heads)) == (5, 7, 2.0, None, 0)
    assert car.body.out_features == {"a": 3}
    assert CAR.build({"name": "Car", "body": {"name": "Body"}}, num_classes=5, spare=1).spare == 1


def test_a_component_provides_run_time_values_for_those_built_after_it():
    head = {"name": "Head"}
    car = CAR.build({"name": "Car", "heads": [head, head], "neck": {"name": "Neck", "channels": 6},
                     "body": {"name": "Body"}},
                    num_classes=2)  # fmt: skip
    assert car.neck.in_features == {"a": 8}, "the body's, in any order of the spec"
    assert [h.in_features for h in car.heads] == [{"n": 6}] * 2 and car.heads[1].num_classes == 2
    assert CAR.build({"name": "Car", "heads": [head], "body": {"name": "Body"}}, num_classes=2).heads[
        0
    ].in_features == {"a": 8}


def test_ready_objects_may_stand_in_slots():
    body, head = Body(width=2), Head({}, 1)
    car = CAR.build({"name": "Car", "body": body, "heads": [head, {"name": "Head"}]}, num_classes=2)
    assert car.body is body and car.heads[0] is head and car.heads[1].in_features == {"a": 2}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, r"^car: 'name' is missing"),
        ({"name": 3}, r"^car: 'name' is missing"),
        ({"name": "Cra"}, r"^car\.name: .*'Cra'; did you mean 'Car'\?$"),
        ({"name": "Car"}, r"^car: Car .*'body'"),
        (
            {"name": "Car", "body": {"name": "Body"}, "sped": 1},
            r"^car\.sped: Car .*'sped'; did you mean 'speed'\?$",
        ),
        (
            {"name": "Car", "body": {"name": "Body"}, "num_classes": 1},
            r"^car\.num_classes: .*'num_classes' of Car",
        ),
        ({"name": "Car", "body": {"name": "Body", "width": 0}}, r"^car\.body: width must be at least 1, given 0$"),
        (
            {"name": "Car", "body": {"name": "Body"}, "neck": {"name": "Neck", "channels": 13}},
            r"^car\.neck: no unlucky numbers$",
        ),
        (
            {"name": "Car", "body": {"name": "Body"}, "heads": [{"name": "Head"}, {"name": "Hed"}]},
            r"^car\.heads\S*1\S*name: .*'Head'",
        ),
        ({"name": "Car", "body": {"name": "Neck"}}, r"^car\.body\.name: .*body.*'Neck'"),
    ],
)
def test_mistakes_are_errors_with_their_key_path_in_front(spec, message):
    with pytest.raises(SegkitError, match=message) as caught:
        CAR.build(spec, path="car", num_classes=3)
    assert caught.value.key is not None and caught.value.key.startswith("car")
    assert not re.match(r"(car\S*: ){2}", str(caught.value)), "one prefix"


def test_other_errors_pass_unchanged_and_missing_run_time_values_are_named(registry):
    @registry.register
    class Broken:
        def __init__(self) -> None:
            raise TypeError("a defect")

    with pytest.raises(TypeError, match=r"^a defect$"):
        registry.build({"name": "Broken"})
    with pytest.raises(SegkitError, match=r"^car: Car .*'num_classes'.*builder"):
        CAR.build({"name": "Car", "body": {"name": "Body"}})


def test_a_component_that_does_not_fit_into_memory_is_an_error_of_the_user():
    body = Registry("LARGE")

    @body.register
    class Large:
        def __init__(self, *, width: int) -> None:
            import torch

            torch.empty(width, width, device="meta")

    body.build({"name": "Large", "width": 5})
    for width in (10**30, 2**62, 10**400):
        with pytest.raises(SegkitError, match=r"^model\.body: Large .*[Oo]verflow"):
            body.build({"name": "Large", "width": width}, path="model.body")


def test_another_key_may_hold_the_name():
    formats = Registry("FORMAT", key="format")

    @formats.register
    class Catalog:
        def __init__(self, *, name: str) -> None:
            self.name = name

    assert formats.build({"format": "Catalog", "name": "cells"}).name == "cells"
    with pytest.raises(SegkitError, match=r"^data\.train: 'format' is missing"):
        formats.build({"name": "cells"}, path="data.train")


def test_signatures_and_slots():
    schema = signature_of(Car)
    assert list(schema.runtime) == ["num_classes", "spare"]
    assert list(schema.options) == ["body", "neck", "heads", "speed"]
    assert set(schema.slots) == {"body", "neck", "heads"} and isinstance(schema.slots["heads"], SlotList)
    slot = Slot(BODY)
    for annotation in (Annotated[Body, slot], Optional[Annotated[Body, slot]], Annotated[Body, slot] | None):  # noqa: UP045
        assert find_slot(annotation) is slot
    assert find_slot(Any) is None and find_slot(int | None) is None

    class Plain: ...

    assert not signature_of(Plain).options

    class Child(Body):
        """Inherits its constructor."""

    assert list(signature_of(Child).options) == ["width"]


@pytest.mark.parametrize("registry", ALL_REGISTRIES, ids=lambda r: r.title)
def test_every_registered_component_is_readable_as_a_schema(registry):
    for name in registry.names():
        schema = signature_of(registry.get(name))
        for key in schema.options:
            assert key in schema.annotations, f"{registry.title} {name}: '{key}' has no type"
            assert key != registry.key, f"{registry.title} {name}: '{key}' is what names the component"
