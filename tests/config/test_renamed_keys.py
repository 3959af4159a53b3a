"""Old spellings of keys: errors where a person writes them, upgraded where a checkpoint holds them."""

from __future__ import annotations

import re
from typing import Annotated

import pytest

from segkit.config import load_config, load_config_dict
from segkit.config.loader import present_config_dict
from segkit.config.renamed_keys import RENAMED_KEYS, upgrade_saved_config
from segkit.registry import META_ARCH_REGISTRY, ROI_HEADS_REGISTRY, Slot
from segkit.utils.errors import SegkitError

HEADS = {
    "name": "Heads",
    "fg_iou_threshold": 0.6,
    "bg_iou_threshold": 0.4,
    "fg_iou_thresholds": [0.5, 0.6],
    "append_gt_boxes": False,
    "batch_size_per_image": 64,
}
OLD_HEADS = {{new: old for old, new in RENAMED_KEYS.items()}.get(key, key): value for key, value in HEADS.items()}


class Heads:
    def __init__(
        self,
        *,
        fg_iou_threshold: float = 0.5,
        bg_iou_threshold: float = 0.5,
        fg_iou_thresholds: tuple[float, ...] = (),
        append_gt_boxes: bool = True,
        batch_size_per_image: int = 512,
    ) -> None: ...

    losses = predict = None


class OwnHeads:
    """A component that has an argument of an old name, and means it."""

    def __init__(self, *, samples: int = 3, batch_size_per_image: int = 4) -> None: ...


class WithHeads:
    def __init__(self, num_classes: int, *, roi_heads: Annotated[object, Slot(ROI_HEADS_REGISTRY)]) -> None: ...


class MoreHeads(Heads):
    def __init__(self, *, mine: int = 0, **kwargs: object) -> None: ...


@pytest.fixture(autouse=True)
def heads(components):
    for cls in (Heads, OwnHeads, MoreHeads):
        ROI_HEADS_REGISTRY.register(cls)


def config(load, heads: dict, **more):
    """A saved configuration whose model has ``heads`` in a slot."""
    META_ARCH_REGISTRY.register(WithHeads)
    return {**load().to_dict(), "model": {"name": "WithHeads", "roi_heads": heads}, **more}


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
@pytest.mark.parametrize("name", ["Heads", "MoreHeads"])
def test_an_old_key_in_a_file_is_an_error_that_names_the_new_one(load, write, old, new, name):
    saved = config(load, {"name": name})
    write("old.yaml", f"model:\n  name: WithHeads\n  roi_heads:\n    name: {name}\n    {old}: 1\n"
          f"data: {{train: {saved['data']['train']}}}\n")  # fmt: skip
    with pytest.raises(SegkitError) as caught:
        load_config("old.yaml")
    assert caught.value.key == f"model.roi_heads.{old}"
    assert "old.yaml:5" in str(caught.value) and f"'{new}'" in str(caught.value)


def test_an_old_key_on_the_command_line_is_an_error_that_names_the_new_one(load):
    saved = config(load, {"name": "Heads"})
    for overrides in (["model.roi_heads.samples=5"], ["model.roi_heads={name: Heads, samples: 5}"]):
        with pytest.raises(SegkitError, match=r"command line.*samples.*'batch_size_per_image'"):
            load_config_dict(saved, overrides=overrides)


def test_an_old_argument_of_the_builder_is_an_error_that_names_the_new_one():
    for name in ("Heads", "MoreHeads"):
        with pytest.raises(SegkitError, match=r"heads\.foreground_iou.*'fg_iou_threshold'"):
            ROI_HEADS_REGISTRY.build({"name": name, "foreground_iou": 0.5}, path="heads")


def test_an_argument_of_an_old_name_stays_an_argument(load):
    saved = config(load, {"name": "OwnHeads", "samples": 7, "batch_size_per_image": 8})
    assert load_config_dict(saved).model.roi_heads == {"name": "OwnHeads", "samples": 7, "batch_size_per_image": 8}


def test_the_configuration_in_an_old_checkpoint_is_upgraded(load):
    old, new = config(load, OLD_HEADS), config(load, HEADS)
    assert old["model"] != new["model"] and upgrade_saved_config(old) == upgrade_saved_config(new) == new
    cfg = load_config_dict(old, "model.pth", ["model.roi_heads.fg_iou_threshold=0.7"])
    assert cfg.model.roi_heads.fg_iou_threshold == 0.7 and cfg.model.roi_heads.batch_size_per_image == 64
    assert cfg.origins["model.roi_heads.batch_size_per_image"] == "model.pth"


def test_specs_in_lists_are_upgraded(load):
    new = config(load, {"name": "Heads"}, hooks=[{"name": "Report", "inner": [HEADS]}])
    assert upgrade_saved_config({**new, "hooks": [{"name": "Report", "inner": [OLD_HEADS]}]}) == new


def test_two_names_of_one_argument_in_a_checkpoint_are_an_error(load):
    saved = config(load, {"name": "Heads", "samples": 1, "batch_size_per_image": 2})
    with pytest.raises(SegkitError, match=r"roi_heads\.samples.*'batch_size_per_image'"):
        load_config_dict(saved)


def test_a_saved_configuration_is_compared_as_this_version_would_save_it(load):
    old = config(load, OLD_HEADS)
    del old["model"]["roi_heads"]["samples"], old["train"]["keep_every"]
    cfg = load_config_dict(config(load, {**HEADS, "batch_size_per_image": 512}))
    assert present_config_dict(old) == cfg.to_dict()
    invalid = {**old, "no_such_section": 1}
    assert present_config_dict(invalid) == upgrade_saved_config(invalid) and present_config_dict({}) == {}


def test_unknown_components_are_left_for_the_check(load):
    saved = config(load, {"name": "Gone", "samples": 1})
    assert upgrade_saved_config(saved) == saved
    with pytest.raises(SegkitError, match=re.escape("'Gone'")):
        load_config_dict(saved)
