"""Every writer with its reader: what is written is read back, or counted as lost. New formats are tried by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import torch
from random_scenes import CLASSES, KINDS, RandomScenes, object_differences

from segkit.data import Dataset, build_dataset
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.writing import WrittenData, make_output, write_splits
from segkit.registry import DATASET_WRITER_REGISTRY

FORMATS = DATASET_WRITER_REGISTRY.names()
READER_OPTIONS = {"voc": {"void": "ignore"}}  # to read regions that VOC calls void
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
        not_found, not_written = object_differences(sample.targets, objects, (keys(scenes), keys(found)))
        lost, added = lost + not_found, added + not_written
    return lost, added


def keys(data: Dataset) -> list[object]:
    """The category of each label, by id for formats that have no names, as class3."""
    known = dict(zip(["cell", "red cell"], [3, 7], strict=True))
    ids = [known.get(name, k) for name, k in zip(data.classes, data.category_ids, strict=True)]
    return [*ids, "all"]


def check(tmp_path, name: str, options: dict, count: int, kinds: Sequence[str] = KINDS, seed: int = 0) -> WrittenData:
    """Writes two splits and reads them back; what is not equal has to be counted."""
    splits: dict[str, Dataset] = {
        "train": RandomScenes(count, kinds, seed=seed),
        "val": RandomScenes(max(2, count // 10), kinds, first_id=1001, seed=seed),
    }
    report = written(tmp_path, name, options, splits)
    counted = sum(report.losses.values())
    if counted >= report.objects:  # without a single object a format cannot be recognised
        return report
    opened = open_data(str(tmp_path / "out"))
    assert opened.reason.startswith(f"{name}: ") and set(opened.splits) == set(splits)
    specs = {split: {**spec, **READER_OPTIONS.get(name, {})} for split, spec in opened.specs.items()}
    found = [differences(scenes, build_dataset(specs[split])) for split, scenes in splits.items()]
    assert sum(lost for lost, _ in found) <= counted, dict(report.losses)
    # A region of all classes may become one of each class.
    assert sum(added for _, added in found) <= counted * len(CLASSES), dict(report.losses)
    return report


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_objects_are_read_back_or_counted(tmp_path, name, options):
    check(tmp_path, name, options, 12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_each_kind_of_object(tmp_path, name, options, kind):
    """If a format loses nothing of a kind, all objects of this kind are equal."""
    check(tmp_path, name, options, 3, [kind], KINDS.index(kind))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_many_images(tmp_path, name, options):
    check(tmp_path, name, options, 300, seed=1)


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
    report = check(tmp_path, "coco", options, 3, [kind])
    assert (sum(report.losses.values()) > 0) == (kind == "ignore")  # these become crowds of every class
