"""LabelMe's JSON files: shapes, groups, images beside, apart and inside, faults."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data.formats import LabelMe, build_dataset, recognize
from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

H, W = 40, 60
SQUARE = [[15, 10], [30, 10], [30, 20], [15, 20]]


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def shape(label="cat", kind="polygon", points=SQUARE, **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def mask_shape(pixels, x, y, **more):
    h, w = pixels.shape
    return shape(kind="mask", points=[[x, y], [x + w - 1, y + h - 1]], mask=png(pixels), **more)


def write_json(path, *shapes, image="a.png", size=(H, W), data=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": data}
    path.write_text(json.dumps({**content, "imageHeight": size[0], "imageWidth": size[1], **more}))
    return path


def make_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((H, W, 3), 9, np.uint8)).save(path)


def open_labelme(root, **arguments):
    return build_dataset({"format": "labelme", "root": str(root), **arguments})


def test_shapes(tmp_path):
    make_image(tmp_path / "a.png")
    make_image(tmp_path / "b.png")
    crop = np.array([[1, 0, 1], [0, 0, 255]], np.uint8)
    shapes = [
        shape(),
        shape("dog", "rectangle", [[20, 30], [5, 6]]),
        shape("dog", "circle", [[30, 20], [30, 30]]),
        mask_shape(crop, 58, 3),
        shape("dog", "oriented_rectangle"),
        shape(kind="line", points=[[1, 2], [3, 4]]),
        shape(kind="linestrip", points=[[1, 2], [3, 4], [5, 6]]),
        shape(kind="point", points=[[1, 2]]),
        shape(points=[[1, 2], [3, 4]]),
    ]
    write_json(tmp_path / "a.json", *shapes)
    data = open_labelme(tmp_path)
    assert data.classes == ["cat", "dog"] and "b.png" in data.notes()[0]
    targets = data.load(0).targets
    assert targets.labels.tolist() == [0, 1, 1, 0, 1] and targets.has_mask.tolist() == [True, False, True, True, True]
    assert targets.boxes[1].tolist() == [5, 6, 20, 30] and targets.boxes[2].tolist() == [20, 10, 40, 30]
    square = InstanceMasks.from_polygons([[[v for p in SQUARE for v in p]]], (H, W))
    assert torch.equal(targets.masks[0].to_dense(), square.to_dense())
    assert targets.masks[3].to_dense()[0].nonzero().tolist() == [[3, 58]]  # the rest is outside of the image
    total, lost = data.lost_objects()
    assert total == 9 and [one.count for one in lost] == [1, 1, 1, 1]
    assert lost[0].examples == ("a.json: shapes[5]",)
    assert open_labelme(tmp_path, rectangles="mask").targets(0).has_mask.all()


def test_groups_are_one_object(tmp_path):
    make_image(tmp_path / "a.png")
    far = [[40, 30], [45, 30], [45, 35], [40, 35]]
    shapes = [shape(group_id=1), shape(points=far, group_id=1), shape("dog", group_id=1), shape(group_id=2)]
    shapes += [mask_shape(np.ones((2, 2), np.uint8), 0, 0, group_id=2), shape(group_id=0)]
    write_json(tmp_path / "a.json", *shapes, size=(None, None))
    targets = open_labelme(tmp_path).targets(0)
    assert targets.masks.areas().tolist() == [175, 150, 154, 150] and targets.labels.tolist() == [0, 1, 0, 0]


def test_where_images_are(tmp_path):
    for name in ("apart/images/a.png", "tree/images/b.png", "tree/c.png"):
        make_image(tmp_path / name)
    write_json(tmp_path / "apart/labels/a.json", shape(), image="..\\images\\a.png")
    write_json(tmp_path / "tree/labels/b.json", shape(), image="../images/b.png")
    write_json(tmp_path / "tree/c.json", shape(), image="C:\\data\\c.png")
    data = open_labelme(tmp_path / "tree")
    assert [data.load(i).file_name for i in range(2)] == ["c.png", "images/b.png"]
    with pytest.raises(SegkitError, match="'images' may name"):
        open_labelme(tmp_path / "apart/labels")
    assert open_labelme(tmp_path / "apart/labels", images=str(tmp_path / "apart/images")).load(0).file_name == "a.png"


def test_an_image_inside_of_the_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    write_json(tmp_path / "a.json", shape(), data=png(pixels), size=(None, None))
    data = open_labelme(tmp_path)
    assert torch.equal(data.load(0).image, torch.from_numpy(pixels).permute(2, 0, 1)) and data.size(0) == (H, W)
    assert data.load(0).file_name == "a.png" and "from their JSON files" in data.notes()[0]
    write_json(tmp_path / "a.json", shape(), data="!!", size=(H, W))
    with pytest.raises(SegkitError, match=r"a\.json.*base64"):
        open_labelme(tmp_path).load(0)


@pytest.mark.parametrize(
    ("shapes", "facts"),
    [
        ([shape(kind="polygn")], ["a.json: shapes[0]", "polygn", "did you mean 'polygon'"]),
        ([shape(), shape(label=3)], ["shapes[1]", "label", "3"]),
        ([shape(points=[[1, 2], [3]])], ["points"]),
        ([shape(points=[[1, 2], [3, float("nan")], [4, 5]])], ["points", "nan"]),
        ([shape(kind="circle", points=[[1, 2]])], ["circle", "1 points"]),
        ([shape(group_id="x")], ["group_id", "'x'"]),
        ([shape(kind="mask", points=[[1, 2], [3, 4]], mask="?")], ["mask", "base64"]),
        ([shape(kind="mask", points=[[1, 2], [3, 4]], mask="iVBORw0KGgo=")], ["mask", "PNG"]),
        ([{**mask_shape(np.ones((2, 2), np.uint8), 1, 1), "points": [[1, 1], [9, 9]]}], ["2 x 2", "9 x 9"]),
        ([3], ["shapes[0]", "mapping"]),
    ],
)
def test_wrong_shapes(tmp_path, shapes, facts):
    make_image(tmp_path / "a.png")
    write_json(tmp_path / "a.json", *shapes)
    with pytest.raises(SegkitError) as error:
        open_labelme(tmp_path)
    assert all(fact in str(error.value) for fact in facts), str(error.value)


@pytest.mark.parametrize(
    ("more", "facts"),
    [
        ({"imagePath": "../../etc/b.png"}, ["b.png", "missing"]),
        ({"imagePath": "/etc/b.png"}, ["missing"]),
        ({"imagePath": None}, ["imagePath", "null"]),
        ({"imageHeight": -1}, ["imageHeight", "-1"]),
        ({"shapes": {}}, ["shapes", "list"]),
    ],
)
def test_wrong_files(tmp_path, more, facts):
    make_image(tmp_path / "a.png")
    write_json(tmp_path / "a.json", shape(), **more)
    with pytest.raises(SegkitError) as error:
        open_labelme(tmp_path)
    assert all(fact in str(error.value) for fact in facts), str(error.value)


def test_files_that_are_no_json(tmp_path):
    make_image(tmp_path / "a.png")
    for content, fact in (
        (b'{"shapes": [\n1,]', "a.json:2"),
        (b"[" * 100_000, "deep"),
        (b"[3]", "holds no JSON files of LabelMe"),
        (b"\xff", "UTF-8"),
    ):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(SegkitError, match=fact):
            open_labelme(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(SegkitError, match="no JSON files of LabelMe"):
        open_labelme(tmp_path)


def test_recognition(tmp_path):
    for split in ("train", "val"):
        make_image(tmp_path / split / "a.png")
        write_json(tmp_path / split / "a.json", shape())
    found = recognize(tmp_path)
    assert found.spec == {"format": "labelme", "root": str(tmp_path / "train")} and set(found.splits) == {
        "train",
        "val",
    }
    assert recognize(tmp_path / "val/a.json").spec["root"].endswith("a.json")
    assert len(open_labelme(tmp_path / "val/a.json")) == 1
    (tmp_path / "b.json").write_text("{}")
    assert LabelMe.recognize(tmp_path) == found
