"""Recognition across all formats: in a folder of each layout the right format wins, with the right splits."""

from __future__ import annotations

import pytest
from format_examples import EXAMPLES, filled
from outline_examples import labelme_splits
from pixel_formats import save_image, save_json

from segkit import SegkitError
from segkit.data import build_dataset
from segkit.data.formats import recognize
from segkit.registry import DATASET_FORMAT_REGISTRY

NOT_FOUND = {"auto", "catalog", "synthetic", "tiles"}  # formats that are named, not recognised


def test_every_format_has_an_example():
    assert {name for name, _ in DATASET_FORMAT_REGISTRY} - NOT_FOUND <= {e.format for e in EXAMPLES.values()}


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_right_format_wins(tmp_path, title):
    example, found = EXAMPLES[title], recognize(filled(tmp_path, title))
    assert found.spec["format"] == example.format, found.reason
    specs = dict(found.splits) or {"all": found.spec}
    assert {split: len(build_dataset(spec)) for split, spec in specs.items()} == example.splits
    assert found.spec == specs.get("train", next(iter(specs.values())))


@pytest.mark.parametrize(
    "name", ["a.json", "c.xml", "a.geojson", "RoiSet.zip", "x.roi", "a_seg.npy", "val/a.txt", "sub/x.json"]
)
def test_images_beside_annotations_are_not_images_alone(tmp_path, name):
    for split in ("train", "val"):
        save_image(tmp_path / split / "a.png")
    assert recognize(tmp_path).spec["format"] == "image_folder"
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"?")
    with pytest.raises(SegkitError, match=r"(?s)seen: .*may be annotations: .*image_folder, root") as error:
        recognize(tmp_path)
    assert name in str(error.value) and "2 .png" in str(error.value)
    assert recognize(tmp_path, "image_folder").spec["format"] == "image_folder"


def test_files_of_labelme_above_the_splits_belong_to_none(tmp_path):
    labelme_splits(tmp_path)
    save_json(tmp_path / "a.json", {"shapes": [], "imagePath": "train/a.png"})
    found = recognize(tmp_path)
    assert found.spec["format"] == "labelme" and not found.splits
