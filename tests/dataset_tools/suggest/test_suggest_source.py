"""What a suggestion is made for: the data, how they are read, and what is not annotated in them."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from rectangles import Rectangles, scattered

import segkit
from segkit.dataset_tools.source import OpenedData
from segkit.dataset_tools.suggest import source
from segkit.dataset_tools.suggest.config import suggest
from segkit.dataset_tools.suggest.source import open_source
from segkit.utils.errors import SegkitError


def write_pairs(folder, shape, *, dtype=np.uint16, **options):
    """Three images with label maps of one object, in sister folders."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 3000, shape).astype(dtype)
        tifffile.imwrite(folder / f"images/{k}.tif", pixels, **options)
        labels = np.zeros((48, 48), np.uint16)
        labels[4:30, 5 + k : 30] = 1
        tifffile.imwrite(folder / f"masks/{k}.tif", labels)
    return folder


def choices_of(path, *overrides):
    return suggest(str(path), memory=16, overrides=list(overrides)).config


def test_four_channels_are_no_colours(tmp_path):
    data = write_pairs(tmp_path / "d", (4, 48, 48), planarconfig="separate", photometric="minisblack")
    cfg = choices_of(data)
    assert cfg.data.channels == "all" and cfg.model["backbone"]["in_channels"] == 4
    assert "ColorJitter" not in [spec["name"] for spec in cfg.data.train_transforms]
    chosen = choices_of(data, "data.channels=[2, 0]")
    assert list(chosen.data.channels) == [2, 0] and len(chosen.model["pixel_mean"]) == 2
    assert choices_of(data, "data.channels=[1, 2, 3]").data.measure_pixel_stats is True


def test_planes_of_overrides(tmp_path):
    data = write_pairs(tmp_path / "d", (3, 48, 48), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(SegkitError, match=r"data\.planes\.z"):
        choices_of(data)
    cfg = choices_of(data, "data.planes.z=max")
    assert cfg.data.planes.z == "max" and cfg.data.channels is None


@pytest.mark.parametrize("name", ["ignore", "Ignored regions", "DontCare", "__unlabeled__"])
def test_categories_that_are_regions_by_their_name(name):
    def data():
        return Rectangles(scattered(9), classes=["cell", name])

    found = suggest(data(), memory=16)
    assert list(found.config.data.ignore_classes) == [name] and name in found.config.comments["data.ignore_classes"]
    assert found.stats.classes == ("cell",) and found.stats.objects.ignored == 18
    assert suggest(data(), memory=16, overrides=["data.ignore_classes=[]"]).stats.classes == ("cell", name)
    alone = suggest(Rectangles([[(4, 4, 20, 20, 0)]] * 3, classes=[name]), memory=16)
    assert alone.config.data.ignore_classes == ()  # else no class would be left


def test_regions_of_overrides():
    found = suggest(Rectangles(scattered(9), classes=["cell", "b"]), memory=16, overrides=["data.ignore_classes=[b]"])
    assert found.stats.classes == ("cell",) and found.config.comments["data.ignore_classes"] == "Set by the user."
    with pytest.raises(SegkitError, match="did you mean 'cell'"):
        suggest(Rectangles(scattered(9), classes=["cell", "b"]), overrides=["data.ignore_classes=[cel]"])


def test_a_configuration_is_no_data(tmp_path):
    segkit.suggest_config({"format": "synthetic", "num_images": 6}, memory=16, output=tmp_path / "s.yaml")
    with pytest.raises(SegkitError, match="is a configuration"):  # its validation data would be the training data
        suggest(str(tmp_path / "s.yaml"))


def test_paths_of_specs_are_absolute(tmp_path, monkeypatch):
    write_pairs(tmp_path / "d", (48, 48))
    (tmp_path / "train").mkdir()  # has the name of a split, which is no path
    monkeypatch.chdir(tmp_path)
    spec = {"format": "label_pairs", "root": "d"}
    assert open_source(spec).spec["root"] == str(tmp_path / "d") and open_source(spec).name == "d"
    assert open_source("d").spec["root"] == str(tmp_path / "d")
    assert source._paths({"format": "yolo", "data": "d", "split": "train"}) == {"data": str(tmp_path / "d")}


def test_many_channels():
    class Channels(Rectangles):
        def load(self, index):
            sample = super().load(index)
            sample.image = sample.image.repeat(2, 1, 1)[:5]
            return sample

    cfg = suggest(Channels(scattered(9)), memory=16).config
    assert cfg.data.channels == "all" and list(cfg.model["pixel_mean"]) == [0.5] * 5
    assert cfg.model["backbone"]["in_channels"] == 5
    assert "ColorJitter" not in [spec["name"] for spec in cfg.data.train_transforms]


def test_own_splits(monkeypatch):
    train, val = Rectangles(scattered(9)), Rectangles(scattered(3, seed=1))
    specs = {"val": {"format": "synthetic", "seed": 2}, "train": {"format": "synthetic"}}
    monkeypatch.setattr(
        source, "open_data", lambda path, format, **_: OpenedData({"val": val, "train": train}, specs, "x: y")
    )
    found = suggest("folder/my_data", memory=16)
    assert found.config.data.val["seed"] == 2 and found.config.output_dir == "output/fit/my_data"
    assert "'val'" in found.config.comments["data.val"] and found.stats.images == 9
    val.classes = ["a", "c"]
    with pytest.raises(SegkitError, match="'train' and 'val' differ, in b, c"):
        suggest("folder/my_data", memory=16)
