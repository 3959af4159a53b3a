"""The data sets of a run: their labels, their checks, their loaders."""

import pytest
import torch
from PIL import Image
from test_run import config

from segkit.data import Dataset
from segkit.engine import datasets
from segkit.engine.datasets import build_data, checkpoint_labels, train_loader
from segkit.utils.errors import SegkitError


class Labelled(Dataset):
    """A data set of one image, of which only the labels matter."""

    image_ids = (1,)
    load = label_counts = None

    def __init__(self, classes, category_ids):
        self.classes, self.category_ids = classes, category_ids

    def summary(self):
        return "one image"


def test_evaluation_takes_the_checkpoints_labels(tmp_path, monkeypatch):
    opened = []

    def fake(spec, classes, category_ids=None, *, reader=None, partial=None, path):
        opened.append((path, classes, category_ids))
        names = classes or ["only"]
        ids = category_ids or [9]
        return Labelled(names, ids)

    monkeypatch.setattr("segkit.engine.datasets.build_dataset", fake)
    monkeypatch.setattr("segkit.engine.datasets.check_data", lambda *_: None)
    cfg = config(tmp_path)
    classes, ids = checkpoint_labels({"model": {}, "classes": ["a", "b"], "category_ids": [3, 7]})
    data = build_data(cfg, eval_only=True, classes=classes, category_ids=ids)
    assert opened == [("data.val", ["a", "b"], [3, 7])] and data.category_ids == [3, 7] and data.train is None
    assert checkpoint_labels({"model": {}}) == (None, None)
    opened.clear()
    build_data(cfg, eval_only=True)
    assert opened == [("data.train", None, None), ("data.val", ["only"], [9])]


def test_opening_data_checks_them(tmp_path):
    """No other call is needed before a training."""
    empty = "data.train={format: synthetic, num_images: 2, image_size: [64, 64], min_objects: 0, max_objects: 0}"
    with pytest.raises(SegkitError, match="no object to train on") as caught:
        build_data(config(tmp_path, empty))
    assert caught.value.key == "data.train"
    crop = "data.train_transforms=[{name: RandomCrop, size: 2, min_visibility: 1.0}]"
    with pytest.raises(SegkitError, match="they remove all") as caught:
        build_data(config(tmp_path, crop))
    assert caught.value.key == "data.train_transforms"
    mosaic = ["data.val=null", "data.test_transforms=[{name: Mosaic, size: 64}]"]
    with pytest.raises(SegkitError, match="Mosaic"):
        build_data(config(tmp_path, *mosaic))


def test_images_alone_are_no_training_data(tmp_path):
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    with pytest.raises(SegkitError, match=f"^data.train: there are no classes.* in the images in {tmp_path}"):
        build_data(config(tmp_path, f"data.train={{format: image_folder, root: {tmp_path}}}", "data.val=null"))


def test_training_transforms_are_built_once(tmp_path, monkeypatch):
    """The transforms that are checked are those that train."""
    built, build = [], datasets.build_transforms
    monkeypatch.setattr(
        datasets, "build_transforms", lambda specs, *, path: built.append(path) or build(specs, path=path)
    )
    cfg = config(tmp_path)
    data = build_data(cfg)
    next(iter(train_loader(cfg, data, torch.device("cpu"))))
    assert built == ["data.train_transforms"]
