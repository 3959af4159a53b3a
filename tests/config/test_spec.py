from __future__ import annotations

import copy
import pickle

import pytest

from segkit.config import Period, Spec
from segkit.config.spec import is_plain, to_plain


def test_a_spec_is_an_immutable_mapping_with_attributes():
    spec = Spec({"name": "AdamW"}, lr=1e-4, betas=[0.9, 0.999], options={"a": [1]}, keys="shadowed")
    assert spec.lr == spec["lr"] == 1e-4
    assert dict(**spec)["name"] == "AdamW" and len(spec) == 5
    assert spec == {"name": "AdamW", "lr": 1e-4, "betas": [0.9, 0.999], "options": {"a": [1]}, "keys": "shadowed"}
    assert {"lr", "betas", "items"} <= set(dir(spec))
    assert spec["keys"] == "shadowed" and callable(spec.keys)
    with pytest.raises(AttributeError, match="with_overrides"):
        spec.lr = 3
    with pytest.raises(AttributeError, match="cannot be changed"):
        del spec.lr
    with pytest.raises(TypeError):
        spec["lr"] = 3
    with pytest.raises(AttributeError, match="AdamW has no argument 'beta'; did you mean 'betas'"):
        _ = spec.beta
    spec.betas.append(3)
    spec["options"]["a"].append(3)
    assert spec.betas == [0.9, 0.999] and spec.options == {"a": [1]}, "a component changes copies"


def test_copies_pickles_and_hashes():
    spec = Spec(name="A", child=Spec(name="B", sizes=[1]), period=Period(1, "epoch"))
    for other in (pickle.loads(pickle.dumps(spec)), copy.copy(spec), copy.deepcopy(spec)):
        assert other == spec and type(other) is Spec and type(other.child) is Spec and hash(other) == hash(spec)
    assert spec != Spec(name="A")
    assert hash(Spec(a=1, b=2)) == hash(Spec(b=2, a=1))


def test_to_plain():
    spec = Spec(name="A", child=Spec(name="B", sizes=(1, 2)), period=Period(1, "epoch"))
    assert to_plain(spec) == {"name": "A", "child": {"name": "B", "sizes": [1, 2]}, "period": "1 epoch"}
    assert is_plain(spec) and not is_plain({"a": int}) and not is_plain([object()]) and not is_plain({(1, 2): 3})
