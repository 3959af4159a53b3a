"""``format: auto``: COCO in the layouts that people have, label maps, images; what is said when nothing fits."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit import SegkitError
from segkit.data import Dataset, open_dataset
from segkit.data.formats import Recognition, recognize
from segkit.data.formats.split_names import find_split, split_kind, split_word
from segkit.registry import DATASET_FORMAT_REGISTRY


def picture(file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 9, 3), 90, np.uint8)).save(file)
    return file.name


def coco(file: Path, names: list[str], **others: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": name, "width": 9, "height": 8} for i, name in enumerate(names, 1)]
    box = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    content = {"images": images, "annotations": [box], "categories": [{"id": 5, "name": "cell"}], **others}
    file.write_text(json.dumps(content))


LAYOUTS = {
    "COCO 2017": ("annotations/instances_{}2017.json", "{}2017/{}.png", ["train", "val"]),
    "images by split": ("annotations/instances_{}.json", "images/{}/{}.png", ["train", "val"]),
    "Roboflow": ("{}/_annotations.coco.json", "{}/{}.png", ["train", "valid", "test"]),
    "JSON beside folders": ("{}.json", "{}/{}.png", ["train", "val"]),
    "folders of split and images": ("{}/labels.json", "{}/images/{}.png", ["train", "test"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_coco_layouts(tmp_path, layout):
    json_file, image_file, splits = LAYOUTS[layout]
    for i, split in enumerate(splits):
        names = [picture(tmp_path / image_file.format(split, f"{split}{k}")) for k in range(i + 1)]
        coco(tmp_path / json_file.format(split), names)
    found = recognize(tmp_path)
    assert list(found.splits) == splits or set(found.splits) == set(splits)
    assert found.spec == found.splits["train"]
    for i, split in enumerate(splits):
        data = open_dataset(tmp_path, split)
        assert len(data) == i + 1 and all(Path(file).is_file() for file in data.image_files())
        assert data.load(0).file_name.startswith(split)


def test_one_coco_file_and_its_images(tmp_path):
    coco(tmp_path / "a/cells.json", [picture(tmp_path / "a/pictures/x.png")])
    for path in (tmp_path / "a", tmp_path / "a/cells.json", tmp_path):
        found = recognize(path)
        assert (found.spec["format"], found.splits) == ("coco", {})
        assert Path(found.spec["images"]).name == "pictures"


def test_a_name_that_no_file_can_have_hides_no_file(tmp_path):
    """One of more than 255 characters is an error of the operating system, not a missing file."""
    coco(tmp_path / "cells.json", ["x" * 300, picture(tmp_path / "pictures/x.png")])
    assert recognize(tmp_path).spec["images"] == str(tmp_path / "pictures")


def test_instances_are_chosen_among_files_of_several_tasks(tmp_path):
    names = [picture(tmp_path / "train2017/a.png")]
    coco(tmp_path / "annotations/instances_train2017.json", names)
    coco(tmp_path / "annotations/person_keypoints_train2017.json", names)
    coco(tmp_path / "annotations/captions_train2017.json", names, annotations=[{"caption": "x"}])
    found = recognize(tmp_path)
    assert list(found.splits) == ["train"] and "instances" in found.spec["json"]


@pytest.mark.parametrize(
    "content", ['[{"image_id": 1, "score": 1}]', '{"shapes": [], "imagePath": "a.png"}', "{", '{"images": 3}']
)
def test_other_json_is_not_coco(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SegkitError, match=r"no data set of the format coco; seen: 1 \.json; expected:\na \.json"):
        recognize(tmp_path, "coco")


def test_label_maps_by_split_and_nested(tmp_path):
    inside = tmp_path / "data" / "data"
    for split in ("train", "val"):
        picture(inside / split / "one/image.png")
        Image.fromarray(np.eye(8, 9, dtype=np.uint8)).save(inside / split / "one/class2.png")
    (tmp_path / "__MACOSX").mkdir()
    found = recognize(tmp_path)
    assert found.spec == {"format": "label_map", "root": str(inside / "train")} and set(found.splits) == {
        "train",
        "val",
    }
    assert recognize(inside / "val").splits == {}


def test_images_alone_are_the_last_choice(tmp_path):
    picture(tmp_path / "a.png")
    assert recognize(tmp_path).spec["format"] == "image_folder"
    coco(tmp_path / "a.json", ["a.png"])
    assert recognize(tmp_path).spec["format"] == "coco"


def test_nothing_fits(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.txt", "b.txt", "c.pdf"):
        (tmp_path / name).write_text("")
    with pytest.raises(SegkitError) as error:
        recognize(tmp_path)
    text = str(error.value)
    assert "2 .txt" in text and "1 .pdf" in text and "folders images" in text
    assert "label_pairs: images/ and masks/" in text and "label_map: " not in text


def test_lists_outside_of_the_folder_of_splits(tmp_path):
    content = {
        "dataset": {"format": "image_folder", "root": "x"},
        "splits": {"train": "train.txt", "val": "../val.txt"},
    }
    (tmp_path / "splits.json").write_text(json.dumps(content))
    with pytest.raises(SegkitError, match=r"splits.json: the list '../val.txt' of the split 'val' lies outside"):
        recognize(tmp_path)


class Broken(Dataset):
    """A format that fails on foreign data."""

    @classmethod
    def recognize(cls, path):
        raise RuntimeError("not for me")


class Certain(Dataset):
    """A format that takes everything for its own."""

    @classmethod
    def recognize(cls, path):
        return Recognition({"format": "certain"}, "a feeling", certainty=0.9)


@pytest.fixture
def formats(monkeypatch):
    """Two more formats, for one test."""
    monkeypatch.setattr(DATASET_FORMAT_REGISTRY, "_obj_map", dict(DATASET_FORMAT_REGISTRY._obj_map))
    return lambda name, cls: DATASET_FORMAT_REGISTRY.register(name=name)(cls)


def test_a_format_that_fails_hides_no_other(tmp_path, formats, caplog):
    formats("broken", Broken)
    coco(tmp_path / "a.json", [picture(tmp_path / "a.png")])
    with caplog.at_level(logging.DEBUG):
        assert recognize(tmp_path).spec["format"] == "coco"
    assert "broken" in caplog.text
    with pytest.raises(SegkitError, match="broken failed to look at it: not for me"):
        recognize(tmp_path / "a.png")


def test_two_equal_formats_are_both_named(tmp_path, formats):
    formats("certain", Certain)
    coco(tmp_path / "a.json", [picture(tmp_path / "a.png")])
    with pytest.raises(SegkitError, match=r"certain \(a feeling\).*coco \(.*a\.json\)|coco \(.*certain \(a feeling\)"):
        recognize(tmp_path)
    assert recognize(tmp_path, "coco").spec["format"] == "coco"


def test_splits_by_meaning(tmp_path):
    coco(tmp_path / "train/_annotations.coco.json", [picture(tmp_path / "train/a.png")])
    coco(tmp_path / "valid/_annotations.coco.json", [picture(tmp_path / "valid/b.png")])
    assert open_dataset(tmp_path, "val").load(0).file_name == "b.png"
    assert open_dataset({"format": "auto", "path": str(tmp_path)}).load(0).file_name == "a.png"
    with pytest.raises(SegkitError, match=r"no split 'tset'.*valid: train, valid"):
        open_dataset(tmp_path, "tset")
    with pytest.raises(SegkitError, match="split is for a path"):
        open_dataset({"format": "auto", "path": str(tmp_path)}, "val")


def test_words_of_splits():
    assert [split_word(name) for name in ("instances_val2017", "VALID", "strain", "retest", "test-dev2017")] == [
        "val", "valid", None, None, "dev",
    ]  # fmt: skip
    assert split_kind("training") == "train" and find_split(["a", "valid"], "val") == "valid"
    assert find_split(["val", "valid"], "validation") is None
