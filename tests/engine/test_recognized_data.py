"""A path in place of a spec: in a run's configuration, the saved one, and for evaluation."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from segkit import SegkitError, load_config
from segkit.config import load_config_dict
from segkit.engine.recognized_data import recognized_spec, with_recognized_data

QUICK = "segkit://quickstart.yaml"


@pytest.fixture
def folder(tmp_path):
    """Makes label maps with some splits."""

    def make(*splits: str):
        for split in splits:
            one = tmp_path / "data" / split / "one"
            one.mkdir(parents=True)
            Image.fromarray(np.full((8, 9, 3), 90, np.uint8)).save(one / "image.png")
            Image.fromarray(np.eye(8, 9, dtype=np.uint8)).save(one / "class1.png")
        return tmp_path / "data"

    return make


def test_the_validation_split_is_used_and_logged(folder, caplog):
    data = folder("train", "valid", "test")
    cfg = load_config(QUICK, [f"data.train={data}"])
    assert cfg.data.train == {"format": "auto", "path": str(data), "split": None, "classes": None, "category_ids": None}
    assert cfg.data.val is None  # not the synthetic one of the file
    with caplog.at_level(logging.INFO):
        cfg = with_recognized_data(cfg)
    assert (cfg.data.train.root, cfg.data.val.root) == (str(data / "train"), str(data / "valid"))
    assert "data.val: was not set; it is the split 'valid'" in caplog.text
    saved = load_config_dict(cfg.to_dict())
    assert saved == cfg and with_recognized_data(saved) == cfg


@pytest.mark.parametrize("override", ["data.val=null", "data.val.from_train=0.5"])
def test_validation_data_that_are_set_stay(folder, override):
    data = folder("train", "val")
    for overrides in ([f"data.train={data}", override], [override, f"data.train={data}"]):
        cfg = load_config(QUICK, overrides)
        assert with_recognized_data(cfg).data.val == cfg.data.val


def test_a_share_of_the_training_images_is_kept_from_the_base_file(folder, tmp_path, caplog):
    data = folder("train", "val")
    (tmp_path / "base.yaml").write_text(f"_BASE_: {QUICK}\ndata:\n  val: {{from_train: 0.5, seed: 3}}\n")
    (tmp_path / "mine.yaml").write_text(f"_BASE_: base.yaml\ndata:\n  train: {data}\n")
    with caplog.at_level(logging.INFO):
        for cfg in (load_config(tmp_path / "base.yaml", [f"data.train={data}"]), load_config(tmp_path / "mine.yaml")):
            val = with_recognized_data(cfg).data.val
            assert (val.from_train, val.seed) == (0.5, 3)
    assert "the split 'val' is not used" in caplog.text and "nothing is evaluated" not in caplog.text


def test_a_test_split_is_not_used(folder, caplog):
    data = folder("train", "test")
    cfg = with_recognized_data(load_config(QUICK, [f"data.train={data}"]))
    assert cfg.data.val is None and "has a split 'test' and none for validation" in caplog.text
    cfg = with_recognized_data(load_config(QUICK, [f"data.train={data}", f"data.val={data}", "data.val.split=test"]))
    assert cfg.data.val.root == str(data / "test")


def test_validation_data_are_never_trained_on(folder):
    data = folder("val", "test")
    with pytest.raises(SegkitError, match=r"data\.train: .* has the splits test, val and none that is called train"):
        with_recognized_data(load_config(QUICK, [f"data.train={data}"]))


def test_a_path_for_validation_is_its_validation_split(folder):
    data = folder("train", "val")
    assert recognized_spec({"path": str(data)}, "val", "data")["root"] == str(data / "val")
    cfg = load_config(QUICK, [f"data.train={data}", "data.train.split=val", f"data.val={data}"])
    cfg = with_recognized_data(cfg)
    assert (cfg.data.train.root, cfg.data.val.root) == (str(data / "val"), str(data / "val"))


def test_files_and_bases(folder, tmp_path):
    data = folder("train", "val")
    (tmp_path / "base.yaml").write_text(f"_BASE_: {QUICK}\ndata: {{train: {data}}}\n")
    (tmp_path / "run.yaml").write_text("_BASE_: base.yaml\ndata: {train: {classes: [class1]}}\n")
    cfg = load_config(tmp_path / "run.yaml")
    assert (cfg.data.train.path, list(cfg.data.train.classes), cfg.data.val) == (str(data), ["class1"], None)
    assert cfg.origins["data.train.path"].startswith(str(tmp_path / "base.yaml"))
    cfg = with_recognized_data(cfg)
    assert list(cfg.data.train.classes) == list(cfg.data.val.classes) == ["class1"]
    (tmp_path / "back.yaml").write_text("_BASE_: base.yaml\ndata: {train: {format: synthetic, num_images: 3}}\n")
    assert load_config(tmp_path / "back.yaml").data.train.format == "synthetic"


def test_mistakes_name_the_key(tmp_path):
    with pytest.raises(SegkitError, match=r"data\.train: the data set 'nowhere' does not exist"):
        with_recognized_data(load_config(QUICK, ["data.train=nowhere"]))
    with pytest.raises(SegkitError, match=r"data\.train \(command line\): expected a data.* such as \{format: coco\}"):
        load_config(QUICK, ["data.train=coco"])
    with pytest.raises(SegkitError, match=r"data\.train\.split=val"):
        (tmp_path / "x").mkdir()
        load_config(QUICK, ["data.train.split", "data.train.split=val"])


def test_other_slots_take_no_path():
    with pytest.raises(SegkitError, match="expected a sampler"):
        load_config(QUICK, ["data.sampler=folder"])
