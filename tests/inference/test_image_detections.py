"""Detections of a Predictor: filters, other libraries' forms, notebooks."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.inference.image_detections import ImageDetections
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import MissingPackage, SegkitError

CLASSES = ["<b>one</b>", "two"]


def make(count=3, size=(20, 30)):
    """Squares of falling size and score, the classes in turn; the second one lies on the first."""
    dense = np.zeros((count, *size), bool)
    for i in range(count):
        dense[i, i % 10 : i % 10 + 8 - i % 5, 2 * i % 20 : 2 * i % 20 + 8 - i % 5] = True
    masks = InstanceMasks.from_dense(torch.from_numpy(dense))
    return Detections.from_masks(masks, torch.linspace(0.9, 0.5, count), torch.arange(count) % 2)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a&b.png"
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ({}, [0, 1, 2]),
        ({"min_score": 0.7}, [0, 1]),
        ({"labels": [0]}, [0, 2]),
        ({"labels": []}, []),
        ({"min_area": 37}, [0, 1]),
        ({"max_area": 49}, [1, 2]),
        ({"inside": (4, 4, 6, 30)}, [0, 1]),  # centres (4, 4), (5.5, 4.5) and (7, 5)
        ({"inside": (4.1, 0, 7, 30)}, [1]),
        ({"min_score": 0.6, "labels": [1]}, [1]),
    ],
)
def test_filter(conditions, kept):
    found = make()
    assert found.filter(**conditions).scores.tolist() == found.scores[kept].tolist()
    boxes_only = Detections(found.boxes, found.scores, found.labels, None, found.size)
    assert boxes_only.filter(**conditions).scores.tolist() == found.scores[kept].tolist()


def test_label_map():
    found = make()
    painted = found.to_label_map()
    dense = found.masks.to_dense().numpy()
    expected = np.zeros(found.size, int)
    for i in (2, 1, 0):
        expected[dense[i]] = i + 1
    assert painted.dtype == np.int32 and np.array_equal(painted, expected)
    assert make(0).to_label_map().max() == 0
    with pytest.raises(SegkitError, match="needs masks"):
        Detections(found.boxes, found.scores, found.labels, None, found.size).to_label_map()


def test_class_names_and_file_stay(image):
    found = ImageDetections.of(make(), CLASSES, image, None)
    for other in (found[[0, 2]], found.filter(min_score=0.6), found.to("cpu"), copy.copy(found)):
        assert other.classes == CLASSES and other.file == image and other.masks is not None
    again = pickle.loads(pickle.dumps(found))
    assert torch.equal(again.masks.bits, found.masks.bits) and again.classes == CLASSES


def test_pandas(image):
    pandas = pytest.importorskip("pandas")
    table = ImageDetections.of(make(), CLASSES, image, None).to_pandas()
    assert isinstance(table, pandas.DataFrame) and list(table["class"]) == [CLASSES[0], CLASSES[1], CLASSES[0]]
    assert list(table["area"]) == [64, 49, 36] and list(table["id"]) == [1, 2, 3]
    assert list(make().to_pandas()["class"]) == ["0", "1", "0"]


def test_supervision(image):
    supervision = pytest.importorskip("supervision")
    found = ImageDetections.of(make(), CLASSES, image, None)
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections) and list(theirs.data["class_name"]) == [
        "<b>one</b>",
        "two",
    ] * 1 + ["<b>one</b>"]
    assert np.array_equal(theirs.mask, found.masks.to_dense().numpy())
    assert np.array_equal(theirs.xyxy, found.boxes.numpy()) and theirs.area.tolist() == [64, 49, 36]


@pytest.mark.parametrize("name", ["pandas", "supervision"])
def test_packages_that_are_missing(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(MissingPackage, match=rf"pip install 'segkit\[{name}\]'"):
        getattr(make(), f"to_{name}")()


def test_dense_masks_that_are_too_large(monkeypatch):
    monkeypatch.setattr("segkit.structures.detection_conversions.MAX_DENSE_BYTES", 100)
    monkeypatch.setitem(__import__("sys").modules, "supervision", __import__("types").ModuleType("supervision"))
    monkeypatch.setattr("importlib.util.find_spec", lambda package: package)
    with pytest.raises(SegkitError, match="3 dense masks of 20 x 30"):
        make().to_supervision()


@pytest.mark.figures
def test_a_notebook_shows_picture_and_table(image):
    text = ImageDetections.of(make(), CLASSES, image, None)._repr_html_()
    assert "<p>3 objects: 2 &lt;b&gt;one&lt;/b&gt;, 1 two</p>" in text and "<b>" not in text
    assert 'src="data:image/png;base64,' in text and "a&amp;b.png" in text and text.count("<tr>") == 4


def test_what_a_terminal_shows(image):
    assert repr(ImageDetections.of(make(), CLASSES, "", None)) == (
        "ImageDetections(3 objects: 2 <b>one</b>, 1 two on 20 x 30; masks: True)"
    )
    assert image in repr(ImageDetections.of(make(0), CLASSES, image, None))


def test_a_notebook_shows_a_bounded_table():
    text = ImageDetections.of(make(100), CLASSES, "", None)._repr_html_()
    assert text.count("<tr>") == 21 and "and 80 more" in text and "<img" not in text
    assert "0 objects" in ImageDetections.of(make(0), CLASSES, "", None)._repr_html_()


def test_a_notebook_names_a_file_that_is_gone(tmp_path):
    text = ImageDetections.of(make(), CLASSES, str(tmp_path / "gone.png"), None)._repr_html_()
    assert "gone.png" in text and "<table>" in text


@pytest.mark.figures
def test_pictures(image):
    found = ImageDetections.of(make(), CLASSES, image, None)
    shown = found.show(labels=False, legend=False, scale=1)
    assert isinstance(shown, Image.Image) and shown.size == (30, 20)
    assert np.array_equal(
        np.asarray(shown), found.picture(np.full((20, 30, 3), 90, np.uint8), labels=False, legend=False, scale=1)
    )
    with pytest.raises(SegkitError, match="but this one is"):
        found.picture(np.zeros((5, 5, 3), np.uint8))
