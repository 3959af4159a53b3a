"""Class names: names that outputs cannot hold are errors when a data set is opened; all others work everywhere."""

import json

import numpy as np
import pytest
from PIL import Image

from segkit.data import Dataset, ImageFolder, Synthetic, build_dataset, register_dataset
from segkit.data.formats.class_names import check_classes
from segkit.utils.errors import SegkitError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cell\n", r"'cell\\n', has a line break; did you mean 'cell'\?"),
        ("\r\ncell", r"has a line break; did you mean 'cell'\?"),
        ("a\u2028b", r"has a line break; did you mean 'a b'\?"),
        ("a\tb", r"character U\+0009; did you mean 'a b'\?"),
        ("\x00", r"character U\+0000"),
        ("\x1b[31mcell", r"U\+001B"),
        ("\x85", r"is empty|line break"),
        ("\ud800", r"U\+D800"),
        ("\ufeffcell", r"U\+FEFF; did you mean 'cell'\?"),
        ("\u202ecell", r"U\+202E"),
        ("", r"is empty"),
        (" \n ", r"is empty"),
        (7, r"is not text"),
    ],
)
def test_names_that_outputs_cannot_hold(name, message):
    with pytest.raises(SegkitError, match=rf"^somewhere: the name of class 1, .*{message}"):
        check_classes(["fine", name], [1, 2], "somewhere")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "a occurs more than once"),
        (["a", "a "], "the names 'a' and 'a ' differ only in spaces"),
        (["\u00e9", "e\u0301"], "differ only in their Unicode form"),
    ],
)
def test_names_that_look_alike(names, message):
    with pytest.raises(SegkitError, match=message):
        check_classes(names, None)


@pytest.mark.parametrize(
    "name",
    ["细胞", "خلية", "👩‍🔬", "e\u0301", "a/b,c", "$x_1$", "100%_\\", "x" * 500, " a ", "yes", "1e-4", "A", "می‌خواهم"],
)
def test_names_that_are_harmless(name):
    check_classes([name, "b"], [1, 2])


def test_every_format_checks_them(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    image = {"id": 1, "file_name": "a.png", "height": 8, "width": 8}
    content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cell\n"}]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(SegkitError, match=r"^data set: .*x.json: categories: the name of class 0, 'cell\\n'"):
        build_dataset({"format": "coco", "json": str(tmp_path / "x.json"), "images": str(tmp_path)})
    with pytest.raises(SegkitError, match=r"'cell\\n'"):
        ImageFolder(root=str(tmp_path), classes=["cell\n"])
    with pytest.raises(SegkitError, match=r"'b\\t'"):
        Synthetic(classes=["a", "b\t", "c", "d"])

    class Own(Synthetic):
        def __init__(self):
            super().__init__(num_images=1)
            self.classes = ["a\n", "b", "c", "d"]

    register_dataset("own names", Own)
    with pytest.raises(SegkitError, match=r"data.train: classes: the name of class 0, 'a\\n'"):
        build_dataset({"format": "catalog", "name": "own names"}, path="data.train")


def test_spaces_at_the_ends_are_in_the_summary():
    dataset: Dataset = Synthetic(num_images=1, classes=["a ", "b", "c", "d"])
    assert "note: the class names 'a ' begin or end with a space, which is kept" in dataset.summary()
    assert "begin or end" not in Synthetic(num_images=1).summary()
