"""Every writer with its reader: what is written is read back, or counted as lost. New formats are tried by themselves."""

from __future__ import annotations

import re

import pytest
import torch
from random_scenes import KINDS, RandomScenes, equal_objects

from segkit.data import Dataset
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.writing import WrittenData, make_output, write_splits
from segkit.registry import DATASET_WRITER_REGISTRY

FORMATS = DATASET_WRITER_REGISTRY.names()
OPTIONS = {"coco": [{}, {"segmentation": "polygon"}]}
CASES = [(name, options) for name in FORMATS for options in OPTIONS.get(name, [{}])]
IDS = [" ".join([name, *map(str, options.values())]) for name, options in CASES]
PLAIN = ("touching", "border", "pixel")  # objects of one class each pixel at most


def written(tmp_path, name: str, options: dict, splits: dict[str, Dataset]) -> WrittenData:
    return write_splits(splits, {"format": name, **options}, make_output(tmp_path / "out"))


def differences(scenes: Dataset, found: Dataset) -> tuple[int, int]:
    """Numbers of objects that were not read back, and of objects that were not written, over all images."""
    names = [re.findall(r"image_(\d+)", file)[-1] for file in found.image_files()]
    index_of = {int(name): i for i, name in enumerate(names)}
    assert sorted(index_of) == sorted(scenes.image_ids)
    lost = added = 0
    for i, image_id in enumerate(scenes.image_ids):
        j, sample = index_of[image_id], scenes.load(i)
        assert found.size(j) == sample.size
        objects = found.targets(j)
        same = equal_objects(sample.targets, objects, (keys(scenes), keys(found)))
        lost += len(sample.targets) - same
        added += len(objects) - same
    return lost, added


def keys(data: Dataset) -> list[object]:
    """The category of each label, by id for formats that have no names, as class3."""
    known = dict(zip(["cell", "red cell"], [3, 7], strict=True))
    ids = [known.get(name, k) for name, k in zip(data.classes, data.category_ids, strict=True)]
    return [*ids, "all"]


def check(tmp_path, name: str, options: dict, scenes: Dataset) -> WrittenData:
    report = written(tmp_path, name, options, {"all": scenes})
    opened = open_data(str(tmp_path / "out"))
    assert len(opened.splits) == 1, opened.reason
    (found,) = opened.splits.values()
    lost, added = differences(scenes, found)
    counted = sum(report.losses.values())
    assert lost <= counted, dict(report.losses)
    assert added <= counted * len(scenes.classes), dict(report.losses)  # a region of all classes is one of each class
    return report


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_objects_are_read_back_or_counted(tmp_path, name, options):
    check(tmp_path, name, options, RandomScenes(12))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_each_kind_of_object(tmp_path, name, options, kind):
    """If a format loses nothing of a kind, all objects of this kind are equal."""
    check(tmp_path, name, options, RandomScenes(3, [kind], seed=KINDS.index(kind)))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_many_images(tmp_path, name, options):
    check(tmp_path, name, options, RandomScenes(300, seed=1))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_splits_and_pixels_are_kept(tmp_path, name, options):
    splits = {"train": RandomScenes(3, PLAIN), "val": RandomScenes(2, PLAIN, first_id=10)}
    written(tmp_path, name, options, splits)
    found = open_data(str(tmp_path / "out")).splits
    assert {name: len(data) for name, data in found.items()} == {"train": 3, "val": 2}
    for name, scenes in splits.items():
        files = [int(re.findall(r"image_(\d+)", file)[-1]) for file in found[name].image_files()]
        for i, image_id in enumerate(scenes.image_ids):
            assert torch.equal(found[name].load(files.index(image_id)).image, scenes.load(i).image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS["coco"], ids=["rle", "polygon"])
def test_coco_loses_no_object(tmp_path, options, kind):
    scenes = RandomScenes(3, [kind])
    report = check(tmp_path, "coco", options, scenes)
    regions = sum(int((scenes.load(i).targets.labels < 0).sum()) for i in range(3))
    assert sum(report.losses.values()) == regions  # ignore regions become crowds of every class
