"""CVAT for images: shapes, groups, subsets, faults."""

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data.formats import build_dataset, recognize
from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

H, W = 40, 60
META = (
    "<version>1.1</version><meta><task><id>7</id><labels><label><name>dog</name></label><label><name>cat</name></label>"
    "</labels></task></meta>"
)
SHAPES = """
<polygon label="cat" points="15,10;30,10;30,20;15,20" z_order="0"/>
<box label="dog" xtl="5" ytl="6" xbr="20.5" ybr="30" rotation="0.0"/>
<mask label="dog" rle="1, 2, 4, 1" left="10" top="3" width="4" height="2"/>
<ellipse label="cat" cx="30" cy="20" rx="10" ry="5"/>
<polyline label="cat" points="1,2;3,4"/>
<points label="cat" points="1,2"/>
<tag label="cat"/>
"""


def image(name="a.png", shapes="", more=""):
    return f'<image id="0" name="{name}" width="{W}" height="{H}" {more}>{shapes}</image>'


def write_xml(root, *images, meta=META):
    root.mkdir(parents=True, exist_ok=True)
    (root / "annotations.xml").write_text(f'<?xml version="1.0"?>\n<annotations>{meta}{"".join(images)}</annotations>')
    return root


def make_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(path)


def open_cvat(xml, **arguments):
    return build_dataset({"format": "cvat", "xml": str(xml), **arguments})


def test_shapes(tmp_path):
    make_image(tmp_path / "images/a.png")
    data = open_cvat(write_xml(tmp_path, image(shapes=SHAPES)))
    assert data.classes == ["dog", "cat"]
    sample = data.load(0)
    targets = sample.targets
    assert targets.labels.tolist() == [1, 0, 0, 1] and targets.has_mask.tolist() == [True, False, True, True]
    assert targets.boxes[1].tolist() == [5, 6, 20.5, 30] and sample.file_name == "a.png"
    square = InstanceMasks.from_polygons([[[15, 10, 30, 10, 30, 20, 15, 20]]], (H, W))
    assert torch.equal(targets.masks[0].to_dense(), square.to_dense())
    assert targets.masks[2].to_dense()[0].nonzero().tolist() == [[3, 11], [3, 12], [4, 13]]
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    inside = ((x - 30) / 10) ** 2 + ((y - 20) / 5) ** 2
    drawn = targets.masks[3].to_dense()[0]
    assert drawn[inside < 0.9].all() and not drawn[inside > 1.1].any()  # pycocotools rounds to a fifth of a pixel
    total, lost = data.lost_objects()
    assert total == 6 and {(one.reason, one.count) for one in lost} == {("polylines", 1), ("points", 1)}
    assert open_cvat(tmp_path, boxes="mask").targets(0).has_mask.all()


def test_a_turned_box_becomes_the_box_around_it(tmp_path):
    make_image(tmp_path / "images/a.png")
    box = '<box label="dog" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>'
    assert open_cvat(write_xml(tmp_path, image(shapes=box))).targets(0).boxes[0].tolist() == pytest.approx(
        [15, 5, 25, 25]
    )


def test_groups_are_one_object(tmp_path):
    make_image(tmp_path / "images/a.png")
    shapes = [
        '<polygon label="cat" points="0,0;5,0;5,5;0,5" group_id="3"/>',
        '<mask label="cat" rle="0,4" left="10" top="3" width="2" height="2" group_id="3"/>',
        '<polygon label="dog" points="0,0;5,0;5,5;0,5" group_id="3"/>',
        '<polygon label="cat" points="0,0;5,0;5,5;0,5" group_id="0"/>',
    ]
    targets = open_cvat(write_xml(tmp_path, image(shapes="".join(shapes)))).targets(0)
    assert targets.labels.tolist() == [1, 0, 1] and targets.masks.areas().tolist() == [29, 25, 25]


def test_subsets_are_splits(tmp_path):
    meta = (
        "<meta><project><labels><label><name>cat</name></label></labels><tasks><task><id>4</id><subset>Test</subset></task>"
        "</tasks></project></meta>"
    )
    make_image(tmp_path / "images/Train/a.png")
    make_image(tmp_path / "images/b.png")
    images = [image(more='subset="Train" task_id="3"'), image("b", more='task_id="4"')]
    write_xml(tmp_path, *images, meta=meta)
    data = open_cvat(tmp_path, split="Test")
    assert (len(data), data.load(0).file_name) == (1, "b.png")
    assert open_cvat(tmp_path, split="Train").load(0).file_name == "Train/a.png" and len(open_cvat(tmp_path)) == 2
    with pytest.raises(SegkitError, match="did you mean 'Train'"):
        open_cvat(tmp_path, split="train")
    found = recognize(tmp_path)
    assert found.spec == {"format": "cvat", "xml": str(tmp_path), "split": "Train"} and set(found.splits) == {
        "Train",
        "Test",
    }


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ('<track id="0" label="cat"/>', ["CVAT for images 1.1", ":2"]),
        (image(shapes='<polygon label="cow" points="1,2;3,4;5,6"/>'), ["cow", "a.png", "annotations.xml:2"]),
        (image(shapes='<polygon label="cat" points="1,2;3,4;5"/>'), ["points", "1,2;3,4;5"]),
        (image(shapes='<polygon label="cat" points="1,2;3,4;5,nan"/>'), ["coordinate"]),
        (image(shapes='<polygon points="1,2;3,4;5,6"/>'), ["label"]),
        (image(shapes='<box label="cat" xtl="1" ytl="2" xbr="x" ybr="3"/>'), ["xbr", "'x'"]),
        (image(shapes='<mask label="cat" rle="3" left="0" top="0" width="2" height="2"/>'), ["rle", "3", "4"]),
        (image(shapes='<mask label="cat" rle="9999999999999" left="0" top="0" width="2" height="2"/>'), ["rle"]),
        (image(shapes='<mask label="cat" rle="4" left="0" top="0" width="900000" height="900000"/>'), ["900000"]),
        (image(shapes='<hexagon label="cat"/>'), ["hexagon", "polygon"]),
        (image("../../etc/a.png"), ["leads out"]),
        (image("b.png"), ["b.png", "missing"]),
        ('<image id="0" name="a.png" width="6e1" height="40"/>', ["width"]),
        ("", ["no images"]),
        ("<image", ["annotations.xml:2", "XML"]),
    ],
)
def test_wrong_files(tmp_path, content, facts):
    make_image(tmp_path / "images/a.png")
    with pytest.raises(SegkitError) as error:
        open_cvat(write_xml(tmp_path, content))
    assert all(fact in str(error.value) for fact in facts), str(error.value)


def test_entities_are_refused(tmp_path):
    (tmp_path / "annotations.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]>\n<annotations>&b;</annotations>')
    with pytest.raises(SegkitError, match="entities"):
        open_cvat(tmp_path)
    with pytest.raises(SegkitError, match="unpack"):
        (tmp_path / "a.zip").write_bytes(b"PK")
        open_cvat(tmp_path / "a.zip")


def test_equal_to_hotcoco_where_it_reads_rightly(tmp_path):
    """hotcoco reads polygons and upright boxes; it has no masks, ellipses, groups or subsets."""
    hotcoco = pytest.importorskip("hotcoco")
    make_image(tmp_path / "images/a.png")
    rng = np.random.default_rng(0)
    shapes = []
    for k in range(20):
        points = rng.uniform([0, 0], [W, H], (5, 2)).round(2)
        text = ";".join(f"{x},{y}" for x, y in points)
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        shapes += [
            f'<polygon label="{"cat" if k % 2 else "dog"}" points="{text}"/>',
            f'<box label="cat" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/>',
        ]
    write_xml(tmp_path, image(shapes="".join(shapes)))
    other = hotcoco.COCO.from_cvat(str(tmp_path / "annotations.xml"))
    data = open_cvat(tmp_path)
    names = {category["id"]: category["name"] for category in other.dataset["categories"]}
    mine = sorted((data.classes[o.label], o.segmentation or [], o.box) for o in _objects(data))
    theirs = sorted(_as_mine(names[a["category_id"]], a) for a in other.dataset["annotations"])
    assert len(mine) == len(theirs) == 40
    for (name, polygons, box), (other_name, other_polygons, other_box) in zip(mine, theirs, strict=True):
        assert name == other_name and polygons == other_polygons and box == pytest.approx(other_box)


def _as_mine(name, annotation):
    x, y, width, height = annotation["bbox"]
    polygons = annotation.get("segmentation") or []
    return name, polygons, None if polygons else (x, y, x + width, y + height)


def _objects(data):
    for annotation in data._images[0].objects:
        annotation.label = data.classes.index(annotation.category)
        yield annotation
