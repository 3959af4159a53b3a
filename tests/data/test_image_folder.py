import json

import numpy as np
import pytest
from PIL import Image

from segkit.data import ImageFolder
from segkit.utils.errors import SegkitError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.tif", "c.jpg"):
        Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / name)
    (tmp_path / "readme.txt").touch()
    return tmp_path


def _id_map(folder, content):
    file = folder / "ids.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def test_without_id_map(folder):
    dataset = ImageFolder(root=str(folder), classes=["class2", "class5"])
    assert [dataset.load(i).file_name for i in range(3)] == ["a.tif", "b.png", "c.jpg"]
    assert dataset.image_ids == [1, 2, 3] and dataset.category_ids == [2, 5]
    sample = dataset.load(0)
    assert sample.size == (6, 8) and len(sample.targets) == 0 and sample.image.shape == (3, 6, 8)


def test_id_map_sets_order_and_ids(folder):
    entries = [{"file_name": "c.jpg", "id": 7, "height": 6, "width": 8}, {"file_name": "a.tif", "id": 3}]
    dataset = ImageFolder(root=str(folder), id_map=_id_map(folder, entries))
    assert dataset.image_ids == [7, 3] and [dataset.load(i).image_id for i in range(2)] == [7, 3]
    assert "1 images of the folder are not in" in dataset.summary()
    assert ImageFolder(root=str(folder), id_map=_id_map(folder, {"images": entries})).image_ids == [7, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not a JSON file"),
        ({"a": 1}, "is not an id map"),
        ([{"file_name": "a.tif"}], "entry 0 .'a.tif'.: has no 'id', a whole number"),
        (
            [{"file_name": "a.tif", "id": 1}, {"file_name": "b.png", "id": 1}],
            "entry 1 .'b.png', id 1. repeats the id 1",
        ),
        ([{"file_name": "q.tif", "id": 1}, {"file_name": "b.png", "id": 2}], "1 of the 2 images .* are missing: q.tif"),
    ],
)
def test_bad_id_maps(folder, content, message):
    with pytest.raises(SegkitError, match=message):
        ImageFolder(root=str(folder), id_map=_id_map(folder, content))


def test_a_wrong_size_is_an_error_when_the_image_is_read(folder):
    entries = [{"file_name": "a.tif", "id": 3, "height": 8, "width": 6}]
    dataset = ImageFolder(root=str(folder), id_map=_id_map(folder, entries))
    with pytest.raises(SegkitError, match=r"a.tif: the image is 8 x 6 pixels, but .* says 6 x 8"):
        dataset.load(0)


def test_no_images(tmp_path):
    with pytest.raises(SegkitError, match="holds no images"):
        ImageFolder(root=str(tmp_path))
