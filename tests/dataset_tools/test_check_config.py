"""``segkit dataset check`` of a configuration: its splits, regions and reader are those of the run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from segkit.dataset_tools.check import check_dataset
from segkit.dataset_tools.source import open_data
from segkit.utils.errors import SegkitError


@pytest.fixture
def configured(annotated, tmp_path):
    """Writes a configuration with the training data of the clean world; returns its path."""

    def write(**data):
        train = {**annotated.specs()["train"]}
        file = tmp_path / "run.yaml"
        file.write_text(
            f"_BASE_: segkit://quickstart.yaml\ndata: {json.dumps({'train': train, 'val': None, **data})}\n"
        )
        return file

    return write


def test_validation_images_of_the_training_data(annotated, configured):
    annotated.images[2]["file_name"] = "train0.png"
    file = configured(val={"from_train": 0.5, "seed": 3})
    report = check_dataset(file, pixels=False, workers=0)
    splits = open_data(str(file)).splits
    assert {name: split.images for name, split in report.splits.items()} == {"train": 2, "val": 2}
    assert report.splits["val"].objects == sum(len(splits["val"].targets(i)) for i in range(2))
    (fault,) = report.faults  # images 1 and 3 are one file
    together = {1, 3} <= set(splits["val"].image_ids) or {1, 3} <= set(splits["train"].image_ids)
    assert fault.kind == ("duplicate_image" if together else "image_in_two_splits")


def test_regions_are_no_classes(annotated, configured, tmp_path):
    annotated.coco["train"]["categories"] += [{"id": 3, "name": "unsure"}, {"id": 4, "name": "roi"}]
    annotated.annotations[1].update(category_id=3, segmentation=[[20, 9, 28, 17, 28, 9, 20, 17]], area=32)
    annotated.annotations[3].update(category_id=4)
    report = check_dataset(
        configured(ignore_classes=["unsure"], annotated_region_class="roi"),
        pixels=False,
        workers=0,
        fix=tmp_path / "mended",
    )
    assert list(report.splits["train"].classes) == ["cell", "nucleus"] and report.splits["train"].objects == 10
    assert report.counts() == {"self_intersecting": 1, "mask_unlike_box": 1}  # the shapes of regions are checked
    content = json.loads((tmp_path / "mended/annotations/instances_train.json").read_text())
    assert [one["category_id"] for one in content["annotations"][:4]] == [1, 3, 1, 4]
    with pytest.raises(SegkitError, match="no category 'unsrue'; did you mean 'unsure'"):
        check_dataset(configured(ignore_classes=["unsrue"]), workers=0)


def test_planes_and_channels(annotated, configured):
    """A stack is read as the run reads it, and is an unreadable image without a choice."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 48, 64), dtype=np.uint8)
    file = annotated.root / "images/stack.tif"
    tifffile.imwrite(file, pixels, metadata={"axes": "ZYX"}, imagej=True)
    annotated.images[2]["file_name"] = file.name
    found = check_dataset(configured(), workers=0).counts()
    assert found["unreadable_image"] == 1
    assert "unreadable_image" not in check_dataset(configured(planes={"z": "max"}), workers=0).counts()
    file.unlink()
