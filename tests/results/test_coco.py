"""The COCO file of predictions, read by pycocotools."""

from __future__ import annotations

import json

import pytest
import torch
from pycocotools.coco import COCO

from segkit.inference.predicted_image import PredictedImage
from segkit.results import CocoResultWriter, PartFiles
from segkit.structures.detections import Detections


def make_writer(folder, parts=None, **options):
    return CocoResultWriter(folder, ["x", "y"], [1, 4], parts or PartFiles(folder / ".parts"), **options)


def test_predictions_are_a_coco_data_set(tmp_path, predict):
    writer = make_writer(tmp_path, image_ids={"a.tif": 2})
    for name, size, count in (("a.tif", (20, 9), 2), ("new.tif", (10, 12), 1), ("c.tif", (9, 9), 0)):
        writer.add(predict(name, size, count))
    assert writer.close() == [tmp_path / "predictions.json"]
    coco = COCO(str(tmp_path / "predictions.json"))
    assert {i: image["file_name"] for i, image in coco.imgs.items()} == {2: "a.tif", 3: "new.tif", 4: "c.tif"}
    assert coco.imgs[2]["height"] == 20 and coco.cats[4]["name"] == "y"
    first = coco.loadAnns(coco.getAnnIds(imgIds=2))[0]
    assert first["score"] == pytest.approx(0.9) and first["area"] == 24 and first["id"] == 1
    assert coco.annToMask(first).sum() == 24


def test_nothing_stops_at_a_hundred(tmp_path):
    many = Detections(
        torch.tensor([[1.0, 2, 5, 8]]).repeat(250, 1),
        torch.linspace(1, 0, 250),
        torch.zeros(250, dtype=torch.long),
        torch.ones(250, 2, 2),
        (10, 12),
    )
    writer = make_writer(tmp_path)
    writer.add(PredictedImage("b.tif", "b", many, torch.zeros(3, 10, 12, dtype=torch.uint8)))
    writer.close()
    assert len(json.loads((tmp_path / "predictions.json").read_text())["annotations"]) == 250


def test_parts_of_two_processes_are_one_file(tmp_path, predict):
    names = ["a.tif", "b.tif", "c.tif"]
    whole = make_writer(tmp_path)
    for name in names:
        whole.add(predict(name, (10, 12)))
    expected = whole.close()[0].read_text()
    for folder, share in (("first", names[:1]), ("second", names[1:])):
        writer = make_writer(tmp_path, PartFiles(tmp_path / folder))
        for name in share:
            writer.add(predict(name, (10, 12)))
        writer.parts.close()
    merged = make_writer(tmp_path, PartFiles(tmp_path / "third", [tmp_path / "first", tmp_path / "second"]))
    assert merged.close()[0].read_text() == expected
