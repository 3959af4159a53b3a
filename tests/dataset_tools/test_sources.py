"""Configurations as sources, nested ``format: auto``, ignore regions in COCO, large images on the page."""

from __future__ import annotations

import json

import pytest
import torch

from segkit.config.loader import load_config
from segkit.data import Synthetic, build_dataset
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.writing import make_output, write_splits
from segkit.engine.recognized_data import with_recognized_data
from segkit.structures.targets import ALL_CLASSES


@pytest.fixture
def data(tmp_path):
    """COCO data with an ignore region in its first image."""
    whole = Synthetic(num_images=2, seed=0)
    load = whole.targets

    def targets(index, window=None):
        found = load(index, window)
        if index == 0:
            found.labels[0], found.crowd[0] = ALL_CLASSES, True
        return found

    whole.targets = targets
    folder = make_output(tmp_path / "coco")
    whole.report = write_splits({"train": whole, "val": whole.subset([1])}, {"format": "coco"}, folder)
    whole.folder = folder
    return whole


def test_ignore_regions_are_one_category_that_ignore_classes_reads(data, tmp_path):
    (text,) = data.report.losses
    assert data.report.losses[text] == 1 and "data.ignore_classes=[ignore]" in text
    content = json.loads((data.folder / "annotations/instances_train.json").read_text())
    assert [c["name"] for c in content["categories"]] == [*data.classes, "ignore"]
    config = tmp_path / "run.yaml"
    config.write_text(f"_BASE_: segkit://quickstart.yaml\ndata: {{train: {data.folder}, ignore_classes: [ignore]}}\n")
    opened = open_data(str(config))
    assert opened.splits["train"].classes == list(data.classes)
    found, expected = opened.splits["train"].load(0).targets, data.targets(0)
    regions = found.labels == ALL_CLASSES
    assert int(regions.sum()) == 1 and bool(found.crowd[regions].all())
    first = found.masks[regions].to_dense()
    assert torch.equal(first, expected.masks[expected.labels == ALL_CLASSES].to_dense())


def test_nested_auto_becomes_explicit_of_the_split_that_is_needed(data, tmp_path):
    inner = f"{{format: tiles, of: {{format: auto, path: {data.folder}}}, size: 64, overlap: 0}}"
    config = tmp_path / "run.yaml"
    config.write_text(f"_BASE_: segkit://quickstart.yaml\ndata: {{train: {inner}, val: {inner}}}\n")
    cfg = with_recognized_data(load_config(config))
    assert cfg.data.train["of"]["json"].endswith("instances_train.json") and cfg.data.train["size"] == 64
    assert cfg.data.val["of"]["json"].endswith("instances_val.json")
    assert len(set(build_dataset(cfg.data.val).image_files())) == 1
