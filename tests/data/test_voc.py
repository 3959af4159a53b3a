"""PASCAL VOC data sets: boxes from 1, masks as palette images, lists, faults."""

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data.formats import build_dataset, recognize
from segkit.data.formats.voc.masks import voc_color
from segkit.utils.errors import SegkitError

H, W = 40, 60
PALETTE = [value for index in range(256) for value in voc_color(index)]


def obj(name, box, more=""):
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>\n"


def write_xml(root, stem, *objects, size=(W, H)):
    path = root / f"Annotations/{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><filename>{stem}.jpg</filename>{stated}\n{''.join(objects)}</annotation>")
    make_image(root, stem)


def make_image(root, stem):
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(root / f"JPEGImages/{stem}.jpg")


def write_masks(root, stem, objects, classes, mode="P"):
    for folder, pixels in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        (root / folder).mkdir(exist_ok=True)
        image = Image.fromarray(pixels, mode="P")
        image.putpalette(PALETTE)
        image.convert(mode).save(root / folder / f"{stem}.png")


def write_list(root, kind, name, *stems):
    (root / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / kind / f"{name}.txt").write_text("\n".join(stems) + "\n")


def open_voc(root, **arguments):
    return build_dataset({"format": "voc", "root": str(root), **arguments})


def two_segments():
    """A dog (1, index 12), a cat (2, index 8), void around the cat."""
    objects, classes = np.zeros((H, W), np.uint8), np.zeros((H, W), np.uint8)
    objects[5:15, 5:20], classes[5:15, 5:20] = 1, 12
    objects[19:31, 29:51] = classes[19:31, 29:51] = 255
    objects[20:30, 30:50], classes[20:30, 30:50] = 2, 8
    return objects, classes


def test_boxes_count_pixels_from_1(tmp_path):
    parts = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    hard = obj("cat", (2, 2, 3, 3), "<difficult>1</difficult>")
    write_xml(tmp_path, "a", obj("person", (1, 1, 10, 20), parts), hard, obj("cat", (5, 5, 4, 9)))
    data = open_voc(tmp_path)
    assert len(data.classes) == 20 and data.category_ids[:2] == [1, 2]
    sample = data.load(0)
    assert sample.targets.boxes.tolist() == [[0, 0, 10, 20], [1, 1, 3, 3]]
    assert sample.targets.masks is None and sample.targets.crowd.tolist() == [False, True]
    assert [data.classes[label] for label in sample.targets.labels] == ["person", "cat"]
    [lost] = data.lost_objects()[1]
    assert lost.count == 1 and lost.examples == ("Annotations/a.xml:4",)
    assert open_voc(tmp_path, first_pixel=0).targets(0).boxes[0].tolist() == [1, 1, 11, 21]
    assert not open_voc(tmp_path, difficult="object").targets(0).crowd.any()


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_masks_belong_to_boxes(tmp_path, mode):
    objects = [obj("cat", (31, 21, 50, 30)), obj("dog", (6, 6, 20, 15)), obj("dog", (50, 30, 60, 40))]
    write_xml(tmp_path, "a", *objects)
    write_masks(tmp_path, "a", *two_segments(), mode=mode)
    targets = open_voc(tmp_path).load(0).targets
    assert targets.has_mask.tolist() == [True, True, False]
    dense = targets.masks.to_dense()
    segments = torch.from_numpy(two_segments()[0])
    assert torch.equal(dense[0], segments == 2) and torch.equal(dense[1], segments == 1)
    ignored = open_voc(tmp_path, void="ignore").targets(0)
    assert ignored.labels.tolist()[-1] == -1 and ignored.crowd.tolist() == [False, False, False, True]
    assert int(ignored.masks.areas()[-1]) == int((segments == 255).sum())


def test_masks_without_annotation_files(tmp_path):
    make_image(tmp_path, "a")
    write_masks(tmp_path, "a", *two_segments())
    data = open_voc(tmp_path)
    assert [data.classes[label] for label in data.targets(0).labels] == ["dog", "cat"] and data.targets(
        0
    ).has_mask.all()
    assert data.label_counts(0) == {11: 1, 7: 1} and data.object_counts().tolist() == [2]
    (tmp_path / "labelmap.txt").write_text("# label:color:parts:actions\nbackground:0,0,0::\n" + "".join(
        f"c{index}:{','.join(map(str, voc_color(index)))}::\n" for index in range(1, 15)
    ))  # fmt: skip
    assert [open_voc(tmp_path).classes[i] for i in data.targets(0).labels] == ["c12", "c8"]
    with pytest.raises(SegkitError, match="segment 1 has no box"):
        open_voc(tmp_path, classes=["x"])


def test_lists_are_splits(tmp_path):
    for stem in ("a", "b", "c"):
        write_xml(tmp_path, stem, obj("zebra", (1, 1, 5, 5)))
    make_image(tmp_path, "d")
    write_list(tmp_path, "Main", "train", "a", "b")
    write_list(tmp_path, "Main", "zebra_train", "a  1", "b -1")
    write_list(tmp_path, "Segmentation", "train", "c")
    write_list(tmp_path, "Main", "test", "d")
    assert [len(open_voc(tmp_path, split=split)) for split in ("Main/train", "train", "test")] == [2, 1, 1]
    assert "1 listed images" in open_voc(tmp_path, split="test").notes()[0]
    assert len(open_voc(tmp_path)) == 3 and open_voc(tmp_path).classes == ["zebra"]
    with pytest.raises(SegkitError, match="did you mean 'train'"):
        open_voc(tmp_path, split="trian")
    found = recognize(tmp_path)
    assert found.spec == {"format": "voc", "root": str(tmp_path), "split": "train"} and set(found.splits) == {
        "train",
        "test",
    }
    (tmp_path / "x").mkdir()
    (tmp_path / "x/VOC2012").symlink_to(tmp_path, target_is_directory=True)
    assert len(open_voc(tmp_path / "x")) == 3


def test_images_and_annotations_in_one_folder(tmp_path):
    write_xml(tmp_path / "x", "a", obj("zebra", (1, 1, 5, 5)))
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        for file in ((tmp_path / "x/Annotations/a.xml"), (tmp_path / "x/JPEGImages/a.jpg")):
            (tmp_path / split / file.name).write_bytes(file.read_bytes())
    assert len(open_voc(tmp_path / "train").targets(0)) == 1
    (tmp_path / "x").rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert set(recognize(tmp_path).splits) == {"train", "valid"}


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda root: write_xml(root, "a", obj("cat", (1, "x", 5, 5))), ["a.xml:2", "ymin", "'x'"]),
        (lambda root: write_xml(root, "a", "<object><bndbox/></object>"), ["a.xml:2", "name"]),
        (lambda root: write_xml(root, "a", obj("cat", (1, 1, 1e9, 5))), ["xmax"]),
        (lambda root: write_xml(root, "a", obj("cat", (1, 1, 5, 5)), size=("x", 3)), ["<size>"]),
        (lambda root: (root / "JPEGImages/a.jpg").unlink(), ["1 of the 1 images"]),
        (lambda root: (root / "Annotations/a.xml").write_text("<annotation>&e;</annotation>"), ["a.xml:1", "entity"]),
        (lambda root: (root / "Annotations/a.xml").write_text("<!DOCTYPE a><annotation/>"), ["document type"]),
        (lambda root: write_list(root, "Main", "train", "../../a"), ["train.txt:1", "leads out"]),
        (lambda root: write_masks(root, "a", *(part[:5] for part in two_segments())), ["60 x 5", "60 x 40"]),
    ],
)  # fmt: skip
def test_wrong_files(tmp_path, change, facts):
    write_xml(tmp_path, "a", obj("cat", (1, 1, 5, 5)))
    write_list(tmp_path, "Main", "train", "a")
    change(tmp_path)
    with pytest.raises(SegkitError) as error:
        open_voc(tmp_path, split="train")
    assert all(fact in str(error.value) for fact in facts), str(error.value)


def test_another_size_than_the_images(tmp_path):
    write_xml(tmp_path, "a", obj("cat", (1, 1, 5, 5)), size=(W + 1, H))
    with pytest.raises(SegkitError, match="61 x 40"):
        open_voc(tmp_path).load(0)


def test_equal_to_hotcoco_where_it_reads_rightly(tmp_path):
    """hotcoco reads the boxes; it has no masks, lists and difficult objects."""
    hotcoco = pytest.importorskip("hotcoco")
    rng = np.random.default_rng(0)
    boxes = [(*low, *(low + rng.integers(1, 10, 2))) for low in rng.integers(1, 30, (20, 2))]
    write_xml(tmp_path, "a", *(obj("cat" if k % 2 else "dog", box) for k, box in enumerate(boxes)))
    other = hotcoco.COCO.from_voc(str(tmp_path))
    names = {category["id"]: category["name"] for category in other.dataset["categories"]}
    data = open_voc(tmp_path)
    targets = data.targets(0)
    xywh = torch.tensor([annotation["bbox"] for annotation in other.dataset["annotations"]])
    mine = torch.cat([targets.boxes[:, :2], targets.boxes[:, 2:] - targets.boxes[:, :2]], 1)
    assert torch.equal(mine, xywh.float())
    found = [data.classes[label] for label in targets.labels]
    assert [names[a["category_id"]] for a in other.dataset["annotations"]] == found
