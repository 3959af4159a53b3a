"""Data without objects to train on are an error before the first step; warnings count what reading loses."""

import dataclasses
import json
import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_util

from segkit.config import load_config
from segkit.data import Coco, LabelMap, Synthetic, build_transforms, split_dataset
from segkit.data.formats.base import Dataset
from segkit.data.transforms import Compose
from segkit.engine import data_checks as module
from segkit.engine.data_checks import check_training_objects, check_validation_objects
from segkit.engine.dry_run import dry_run
from segkit.engine.run import train
from segkit.structures import Sample, Targets
from segkit.utils.errors import SegkitError

HEIGHT, WIDTH = 40, 60
POLYGON = [8, 8, 32, 8, 32, 28, 8, 28]
GOOD = {"segmentation": [POLYGON], "bbox": [8, 8, 24, 20]}
UNIT = {"segmentation": [[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]], "bbox": [0.1, 0.1, 0.4, 0.5]}
ROUNDED = {"segmentation": [[-0.0001, 0, 1.00001, 0, 1.00001, 1, 0.5, 0.7]]}
CORNER = {"segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]], "bbox": [0, 0, 1, 1]}  # a pixel, and no share of the image
OUTSIDE = {"segmentation": [[100, 100, 120, 100, 120, 120]], "bbox": [100, 100, 20, 20]}
NOTHING = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}, "bbox": [8, 8, 24, 20]}
CROWD = {**GOOD, "iscrowd": 1}
FLAT = {"bbox": [8, 8, 0, 20]}
YOLO = {"bbox": [0.9, 0.8, 0.3, 0.35]}  # the centre, and sides that lead over the border
SWAPPED = {"bbox": [5, 50, 10, 5]}  # y, x, height, width
CORNERS = {"bbox": [20, 10, 50, 35]}  # x1, y1, x2, y2
POLYGON_CORNERS = {**GOOD, "bbox": [8, 8, 32, 28]}
BESIDE = {**GOOD, "bbox": [40, 10, 10, 12]}
LINE = {"segmentation": [[8, 8, 32, 28]]}  # and no box


def empty_rle():
    code = mask_util.encode(np.zeros((HEIGHT, WIDTH), np.uint8, order="F"))["counts"].decode()
    return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": code}, "bbox": [8, 8, 24, 20]}


@pytest.fixture
def coco(tmp_path):
    """A COCO data set with the annotations given for each image, as spec."""

    def write(*images, name="a"):
        folder = tmp_path / name
        folder.mkdir()
        content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
        for i, annotations in enumerate(images):
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(folder / f"{i}.png")
            content["images"].append({"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH})
            for annotation in annotations:
                number = len(content["annotations"]) + 1
                content["annotations"].append({"id": number, "image_id": i, "category_id": 1, **annotation})
        (folder / "a.json").write_text(json.dumps(content))
        return {"json": str(folder / "a.json"), "images": str(folder)}

    return write


def check(dataset, *transforms, **settings):
    check_training_objects(dataset, build_transforms(transforms), **settings)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[UNIT], [UNIT]], r"2 of 2 are objects with coordinates in 0..1, as annotations\[0\] \(id 1, image '0.png'\)"),
        ([[ROUNDED], [UNIT]], "2 of 2 are objects with coordinates in 0..1"),
        ([[{"bbox": UNIT["bbox"]}]], "1 of 1 are objects with coordinates in 0..1"),
        ([[UNIT]], "multiply x by the image's width and y by its height"),
        ([[YOLO], [YOLO]], "2 of 2 are objects with coordinates in 0..1"),
        ([[SWAPPED], [SWAPPED]], r"2 of 2 are objects with a box outside of their image, as annotations\[0\] \(image '0.png'"),
        ([[CROWD, CROWD], [CROWD]], r"3 of 3 are crowd regions .*\(id 3, image '1.png'\); .* set its 'iscrowd' to 0"),
        ([[NOTHING], [empty_rle()]], r"2 have an empty mask or box, the first in .*/0.png"),
        ([[OUTSIDE], [OUTSIDE, OUTSIDE]], r"3 have an empty mask or box, the first in .*/0.png"),
        ([[FLAT], [], [FLAT]], r"2 of 2 are objects with a box of no width or height, as annotations\[0\] \(id 1, image '0"),
        ([[LINE], [LINE]], r"2 of 2 are objects .*, as annotations\[0\] \(id 1, image"),
        ([[], [], []], "its 3 images have none"),
        ([[CROWD], [UNIT, FLAT]], r"1 of 3 are crowd regions.*1 of 3 are objects with coor.*1 of 3 are objects with a box"),
        ([[CROWD], [OUTSIDE]], r"1 of 2 are crowd regions.*1 have an empty mask or box, the first in .*1.png"),
    ],
)  # fmt: skip
def test_no_object_to_train_on_is_an_error(coco, images, message):
    with pytest.raises(SegkitError, match=rf"^data.train: there is no object to train on in the COCO .*{message}"):
        check(Coco(**coco(*images)))


@pytest.mark.parametrize("start", [train, dry_run])
def test_a_run_ends_before_its_first_step(tmp_path, coco, start):
    overrides = [
        f"data.train={{format: coco, json: {coco([CROWD])['json']}, images: {tmp_path / 'a'}}}", "data.val=null",
        f"output_dir={tmp_path / 'out'}", "train.device=cpu", "data.num_workers=0", "train.iterations=1",
    ]  # fmt: skip
    with pytest.raises(SegkitError, match="there is no object to train on"):
        start(load_config("segkit://quickstart.yaml", overrides))
    assert not list((tmp_path / "out").glob("model*")) and not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[GOOD] * 99, [UNIT]], r"1 of 100 are objects with coordinates in 0..1, as annotations\[99\]"),
        ([[GOOD] * 9, [CROWD]], r"1 of 10 are crowd regions \(iscrowd 1\), as annotations\[9\] \(id 10, image '1.png'\)"),
        ([[GOOD] * 3, [FLAT]], "1 of 4 are objects with a box of no width or height"),
        ([[GOOD] * 8, [LINE] * 2], r"2 of 10 are objects .*, as annotations\[8\].*, annotations\[9\]"),
        ([[GOOD] * 3, [OUTSIDE, NOTHING]], "2 of the 5 objects of 2 images have an empty mask .* the first in .*1.png"),
        ([[GOOD] * 3, [{**GOOD, **LINE}]], "1 of 4 are objects whose polygons have fewer than three corners, so that only"),
        ([[GOOD], [{"bbox": [0.1, 0.2, 0.4, 0.3]}]], "1 of 2 are objects with coordinates in 0..1"),
        ([[CORNERS], [CORNERS, {"bbox": [2, 3, 30, 25]}]], r"3 of 3 are objects with a box that looks like \[x1, y1, x2, y2\]"),
        ([[GOOD] * 20, [POLYGON_CORNERS]], r"1 of 21 are objects with a box that looks like .*\[20\].*x2 - x1 and y2 - y1"),
        ([[GOOD] * 8, [BESIDE]], "1 of 9 are objects with polygons that begin outside of the object's box"),
        ([[GOOD, {**GOOD, "bbox": [0.1, 0.2, 0.4, 0.3]}]], "1 of 2 are objects with a box in 0..1, but a segmentation in p"),
    ],
)  # fmt: skip
def test_a_large_share_or_a_mistake_is_a_warning(coco, caplog, images, message):
    check(Coco(**coco(*images)))
    assert len(caplog.records) == 1 and caplog.records[0].levelno == logging.WARNING
    assert re.search(rf"^training data: {message}", caplog.records[0].getMessage())


@pytest.mark.parametrize(
    "images",
    [
        [[GOOD], [], [], []],  # images without objects beside those with
        [[GOOD] * 11, [CROWD]],
        [[GOOD] * 11, [FLAT]],
        [[GOOD] * 11, [LINE]],
        [[GOOD] * 11, [OUTSIDE]],
        [[GOOD] * 11, [BESIDE]],
        [[GOOD, {**GOOD, "bbox": [8, 8, 0, 0]}]],  # the mask's box is used
        [[{"bbox": [10, 10, 20, 20], "segmentation": [[]]}]],
        [[{"bbox": [0, 0, 61, 41]}, {"bbox": [1, 1, 59.5, 39]}]],  # of the whole image
        [[{"bbox": [40, 2, 30, 10]}, {"bbox": [3, 2, 80, 90]}, {"bbox": [30, 20, 9, 9]}]],  # that reach out
        [[GOOD], [CORNER]],
    ],
)
def test_little_is_lost_and_nothing_said(coco, caplog, images):
    check(Coco(**coco(*images)))
    assert not caplog.records


@pytest.fixture
def label_maps(tmp_path):
    def write(*maps):
        for i, values in enumerate(maps):
            (tmp_path / "maps" / str(i)).mkdir(parents=True)
            Image.fromarray(np.full((8, 9, 3), 90, np.uint8)).save(tmp_path / "maps" / str(i) / "image.tif")
            if values is not None:
                Image.fromarray(np.full((8, 9), values, np.uint8)).save(tmp_path / "maps" / str(i) / "class1.tif")
        return LabelMap(root=str(tmp_path / "maps"))

    return write


def test_label_maps_of_zeros(label_maps, caplog):
    with pytest.raises(
        SegkitError, match=r"no object to train on in the label maps.*its 3 images have none .*zeros only"
    ):
        check(label_maps(0, None, 0))


def test_label_maps_are_read_up_to_the_first_object_only(label_maps, monkeypatch):
    dataset, asked = label_maps(0, 3, 0, 5), []
    counts = LabelMap.label_counts
    monkeypatch.setattr(LabelMap, "label_counts", lambda self, index: asked.append(index) or counts(self, index))
    check(dataset)
    assert asked == [0, 1]


def test_a_part_of_the_data_without_objects(coco):
    dataset = Coco(**coco([GOOD], [], []))
    with pytest.raises(SegkitError, match="no object to train on in the 2 of 3 images of COCO data set"):
        check(dataset.subset([1, 2]))


class Boxes(Dataset):
    """A user's format that does not know its objects before it reads them."""

    classes, category_ids, image_ids = ["cell"], [1], [1, 2]

    def __init__(self, boxes, crowd=False):
        self.boxes, self.crowd = torch.tensor(boxes, dtype=torch.float32), crowd

    def load(self, index):
        labels = torch.zeros(len(self.boxes), dtype=torch.long)
        targets = Targets(self.boxes, labels, None, torch.full((len(labels),), self.crowd))
        return Sample(torch.zeros(3, 20, 20, dtype=torch.uint8), targets, index, "x", (20, 20))

    def label_counts(self, index):
        return {0: len(self.boxes)}


def test_formats_of_ones_own():
    check(Boxes([[1, 1, 5, 5]]))
    for dataset in (Boxes([[1, 1, 1, 5]]), Boxes([[1, 1, 5, 5]], crowd=True), Boxes([])):
        with pytest.raises(SegkitError, match="no object to train on in the Boxes"):
            check(dataset)
    with pytest.raises(SegkitError, match="in the Boxes: 2 are crowd regions, which train nothing"):
        check(Boxes([[1, 1, 5, 5]], crowd=True))


def test_an_unreadable_image_is_skipped_only_on_request(label_maps, tmp_path):
    dataset = label_maps(3, 3)
    (tmp_path / "maps" / "0" / "class1.tif").write_bytes(b"no image")
    check(dataset, skip_unreadable=True)
    with pytest.raises(SegkitError, match=r"class1.tif: cannot be read"):
        check(dataset)


class Spoil:
    """A user's transform that leaves nothing to train on: crowd regions, or boxes without area."""

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, sample, generator):
        targets = sample.targets
        if self.kind == "crowd":
            targets = Targets(targets.boxes, targets.labels, targets.masks, torch.ones(len(targets), dtype=torch.bool))
        else:
            targets = Targets(targets.boxes[:, [0, 1, 0, 3]], targets.labels, None, targets.crowd)
        return dataclasses.replace(sample, targets=targets)

    def __repr__(self):
        return "Spoil()"


FLIP = {"name": "RandomHorizontalFlip"}
CROP = {"name": "RandomCrop", "size": 10, "min_visibility": 1.0}


@pytest.mark.parametrize(
    ("transforms", "culprit"),
    [
        ([CROP], r"RandomCrop\(.*"),
        ([FLIP, CROP, FLIP], r"RandomCrop\(.*"),
        ([{**CROP, "name": "RandomScaledCrop", "min_scale": 1.0, "max_scale": 1.5}], r"RandomScaledCrop\(.*"),
        ([{"name": "RandomQuarterTurn"}, CROP, CROP], r"RandomCrop\(.*"),
        ([FLIP, "crowd"], r"Spoil\(\)"),
        (["flat", FLIP], r"Spoil\(\)"),
    ],
)
def test_transforms_that_leave_nothing(coco, monkeypatch, transforms, culprit):
    monkeypatch.setattr(module, "MIN_SAMPLES", 20)
    dataset = Coco(**coco([GOOD], [GOOD, CROWD]))
    built = Compose([Spoil(t) if isinstance(t, str) else build_transforms([t]) for t in transforms])
    message = rf"^data.train_transforms: they remove all 2 objects of 2 images \(20 samples .*none after {culprit}$"
    with pytest.raises(SegkitError, match=message):
        check_training_objects(dataset, built)


def test_transforms_that_leave_something_now_and_then(coco):
    check(Coco(**coco([GOOD], [GOOD, CROWD])), {"name": "RandomCrop", "size": 4})  # some crops meet an object


def test_transforms_that_leave_nothing_in_very_many_images(coco, monkeypatch, caplog):
    monkeypatch.setattr(module, "MAX_SAMPLES", 3)
    check(Coco(**coco(*[[GOOD]] * 4)), CROP)  # the fourth image may be another matter
    assert "they left no object in 3 samples of images with 3 objects, of 4 images; the first image" in caplog.text


def test_validation_data_without_objects_is_a_warning(coco, label_maps, caplog):
    train_data = Coco(**coco([GOOD]))
    for val in (Coco(**coco([], [], name="b")), Coco(**coco([CROWD], name="c")), label_maps(0, 0)):
        caplog.clear()
        check_validation_objects(val, train_data)
        assert any("the validation data have no objects" in record.getMessage() for record in caplog.records)
    caplog.clear()
    check_validation_objects(Coco(**coco([OUTSIDE], name="d")), train_data)  # evaluation has objects with empty masks
    check_validation_objects(Synthetic(num_images=2), train_data)
    assert not caplog.records


def test_images_in_training_and_validation_are_a_warning(coco, tmp_path, caplog):
    spec = coco([GOOD], [GOOD], [GOOD])
    check_validation_objects(Coco(**spec).subset([1]), Coco(**{**spec, "images": f"{tmp_path}/../{tmp_path.name}/a"}))
    assert "1 of the 1 validation images are training images too, as " in caplog.text and "1.png" in caplog.text
    caplog.clear()
    check_validation_objects(*reversed(split_dataset(Coco(**spec), 0.4)))
    assert not caplog.records
