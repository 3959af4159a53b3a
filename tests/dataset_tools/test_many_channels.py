"""The tools take images of any number of channels, before ``data.channels`` says anything."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import torch

from segkit.cli.main import main
from segkit.dataset_tools.source import open_data
from segkit.utils.images import ImageFile, ImageReader


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 60000, (5, 40, 48)).astype(np.uint16)
    options = {"photometric": "minisblack", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "data" / "images" / "a.tif", pixels, **options)
    tifffile.imwrite(tmp_path / "data" / "images" / "grey.tif", pixels[0])
    box = {
        "category_id": 1,
        "bbox": [2, 2, 9, 9],
        "area": 81,
        "iscrowd": 0,
        "segmentation": [[2, 2, 11, 2, 11, 11, 2, 11]],
    }
    content = {
        "images": [
            {"id": 1, "file_name": "a.tif", "height": 40, "width": 48},
            {"id": 2, "file_name": "grey.tif", "height": 40, "width": 48},
        ],
        "annotations": [{"id": 1, "image_id": 1, **box}, {"id": 2, "image_id": 2, **box}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "data" / "instances.json").write_text(json.dumps(content))
    return tmp_path / "data"


def test_all_channels_unless_grey_or_rgb(folder):
    (dataset,) = open_data(str(folder)).splits.values()
    assert dataset.load(0).image.shape == (5, 40, 48)
    grey = dataset.load(1).image
    assert grey.shape == (3, 40, 48) and torch.equal(grey, ImageReader().read(folder / "images" / "grey.tif"))


def test_a_configuration_chooses_planes_and_channels(folder):
    train = f"{{format: coco, json: {folder}/instances.json, images: {folder}/images}}"
    own = f"data:\n  train: {train}\n  val: null\n  channels: [4, 0]\n  planes: {{z: 1}}\n"
    (folder.parent / "c.yaml").write_text("_BASE_: segkit://quickstart.yaml\n" + own)
    dataset = open_data(str(folder.parent / "c.yaml")).splits["train"]
    assert list(dataset.reader.channels) == [4, 0] and dataset.reader.planes.z == 1


def test_check_finds_no_fault_in_them(folder, capsys):
    main(["dataset", "check", str(folder)])  # exits with 1 if there is an error
    assert "0 errors" in capsys.readouterr().out  # a warning: the images differ in their channels


def test_tiles_keep_the_samples(folder, tmp_path):
    output = tmp_path / "tiles"
    main(["dataset", "tile", str(folder), "--output", str(output), "--size", "24", "--overlap", "0"])
    (tile,) = output.rglob("a_y000000_x000000.tif")
    stored, source = (ImageFile(path).read().pixels for path in (tile, folder / "images" / "a.tif"))
    assert stored.dtype == np.uint16 and np.array_equal(stored, source[:24, :24])
