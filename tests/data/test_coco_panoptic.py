import copy

import numpy as np
import pytest
from pixel_formats import SIZE, label_map, save, save_image, save_json, scene

from segkit.data.formats import build_dataset, recognize
from segkit.data.formats.coco_panoptic import CocoPanoptic
from segkit.utils.errors import SegkitError

CATEGORIES = [
    {"id": 9, "name": "cell", "isthing": 1},
    {"id": 4, "name": "dust", "isthing": 1},
    {"id": 7, "name": "ground", "isthing": 0},
]


@pytest.fixture
def data(tmp_path):
    """(write, content, ids): ``write()`` saves the content; ids is the PNG's map of ids."""
    dense = scene(6)
    ids = label_map(dense, np.int64) * 70_001  # uses all three bytes
    ids[ids == 0] = 5
    ids[0, :3] = 0
    segments = [
        {"id": (i + 1) * 70_001, "category_id": (9, 4)[i % 2], "iscrowd": int(i == 2)} for i in range(len(dense))
    ]
    segments.append({"id": 5, "category_id": 7, "iscrowd": 0})
    content = {
        "images": [{"id": 30, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [{"image_id": 30, "file_name": "a.png", "segments_info": segments}],
        "categories": CATEGORIES,
    }
    save_image(tmp_path / "images" / "train2017" / "a.jpg")
    colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    save(tmp_path / "annotations" / "panoptic_train2017" / "a.png", colours)

    def write(changed=content):
        save_json(tmp_path / "annotations" / "panoptic_train2017.json", changed)
        return {
            "json": str(tmp_path / "annotations" / "panoptic_train2017.json"),
            "images": str(tmp_path / "images" / "train2017"),
        }

    return write, content, ids


def test_things_are_objects_in_the_order_of_the_file(data):
    write, content, ids = data
    dataset = CocoPanoptic(**write())
    assert dataset.classes == ["dust", "cell"] and dataset.category_ids == [4, 9] and dataset.image_ids == [30]
    segments = content["annotations"][0]["segments_info"][:-1]
    targets = dataset.load(0).targets
    dense = targets.masks.to_dense().numpy()
    assert len(dense) == len(segments)
    for mask, label, crowd, segment in zip(dense, targets.labels, targets.crowd, segments, strict=True):
        # the id by the published formula, decoded from the PNG by hand
        assert (mask == (ids == segment["id"])).all()
        assert dataset.category_ids[label] == segment["category_id"] and crowd == bool(segment["iscrowd"])
    assert sum(dataset.label_counts(0).values()) == len(segments)
    assert dataset.object_counts().tolist() == [len(segments) - 1]
    assert "1 of them crowd regions" in dataset.summary()


def test_segments_without_pixels_are_dropped_and_counted(data):
    write, content, _ = data
    content["annotations"][0]["segments_info"].insert(0, {"id": 77, "category_id": 9, "iscrowd": 0})
    dataset = CocoPanoptic(**write())
    assert dataset.load(0).dropped == 1 and dataset.training_objects(0).empty == 1


def test_recognition(data, tmp_path):
    data[0]()
    found = recognize(tmp_path)
    assert found.spec["format"] == "coco_panoptic" and "segments_info" in found.reason
    assert len(build_dataset(found.spec)) == 1


def change(path, value):
    def apply(content):
        target = content
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return apply


FIRST = ("annotations", 0, "segments_info", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((*FIRST, "id"), 1, "pixels of the id 70001"),
        ((*FIRST, "id"), 1 << 24, "ids of a PNG"),
        ((*FIRST, "id"), 140_002, "repeats the id 140002"),
        ((*FIRST, "category_id"), 99, "no category has the id 99"),
        (("annotations", 0, "file_name"), "../a.png", "not one within the folder"),
        (("annotations", 0, "file_name"), "b.png", "1 of the 1 PNGs"),
        (("images", 0, "file_name"), "/etc/passwd", "not one within the folder"),
        (("images", 0, "height"), 25, "32 x 24 pixels, but"),
        (("annotations", 0, "image_id"), 31, "no image has the image_id 31"),
        (("annotations",), [], "1 of 1 images have no annotation"),
        (("categories", 0, "isthing"), None, "'isthing' is null"),
        (("categories", 0, "name"), "dust", "two categories have the name"),
    ],
)
def test_bad_files(data, path, value, message):
    write, content, _ = data
    changed = copy.deepcopy(content)
    change(path, value)(changed)
    with pytest.raises(SegkitError, match=message):
        CocoPanoptic(**write(changed)).load(0)


def test_chosen_classes(data):
    write, _, _ = data
    dataset = CocoPanoptic(**write(), classes=["cell", "dust", "rock"])
    assert dataset.category_ids[:2] == [9, 4] and len(set(dataset.category_ids)) == 3
    with pytest.raises(SegkitError, match="category 'dust' is not among"):
        CocoPanoptic(**write(), classes=["cell"])
