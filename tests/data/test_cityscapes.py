import numpy as np
import pytest
from PIL import Image, ImageDraw
from pixel_formats import SIZE, save, save_image, save_json

from segkit.data.formats import build_dataset, recognize
from segkit.data.formats.cityscapes import Cityscapes
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.errors import SegkitError

OBJECTS = [
    ("road", [(0, 10), (32, 10), (32, 24), (0, 24)]),
    ("car", [(2, 12), (9, 12), (9, 18), (2, 18)]),
    ("car", [(7, 13), (15, 11), (15, 20)]),
    ("cargroup", [(20, 12), (28, 12), (28, 15)]),
    ("person", [(16, 5), (19, 5), (19, 20), (16, 20)]),
    ("caravan", [(24, 17), (31, 17), (31, 22)]),
    ("polegroup", [(0, 0), (2, 0), (2, 9)]),
    ("license plate", [(3, 16), (5, 16), (5, 17)]),
]
IDS = {"road": 7, "car": 26, "cargroup": 26, "person": 24, "caravan": 29, "polegroup": 18, "license plate": -1}


def instance_ids():
    """The instance PNG as Cityscapes' scripts draw it: instances have class * 1000 + number, others the class."""
    image = Image.new("I", SIZE[::-1], 0)
    counts = {}
    for label, polygon in OBJECTS:
        value = IDS[label]
        if label in ("car", "person", "caravan"):
            value = value * 1000 + counts.get(label, 0)
            counts[label] = counts.get(label, 0) + 1
        if value >= 0:
            ImageDraw.Draw(image).polygon(polygon, fill=value)
    return np.array(image).astype(np.uint16)


def polygons(objects=OBJECTS):
    items = [{"label": label, "polygon": [list(p) for p in polygon]} for label, polygon in objects]
    return {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": items}


@pytest.fixture
def root(tmp_path):
    for split, name in (("train", "aachen_0_0"), ("val", "bonn_0_0")):
        city = name.split("_")[0]
        save_image(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        save(tmp_path / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", instance_ids())
        save_json(tmp_path / "gtFine" / split / city / f"{name}_gtFine_polygons.json", polygons())
    return tmp_path


def test_instances_groups_and_ignored_classes(root):
    dataset = Cityscapes(root=str(root))
    assert dataset.classes[:3] == ["person", "rider", "car"] and dataset.category_ids[:3] == [24, 25, 26]
    assert "caravan" not in dataset.classes and len(dataset.classes) == 8
    targets, ids = dataset.load(0).targets, instance_ids()
    found = {}
    for mask, label, crowd in zip(targets.masks.to_dense().numpy(), targets.labels, targets.crowd, strict=True):
        (value,) = np.unique(ids[mask])
        assert (mask == (ids == value)).all()
        found[int(value)] = (int(label), bool(crowd))
    assert found == {
        26: (2, True), 24000: (0, False), 26000: (2, False), 26001: (2, False), 29000: (ALL_CLASSES, True),
    }  # fmt: skip
    assert dataset.label_counts(0) == {0: 1, 2: 3} and dataset.training_objects(0) == (3, 2, 0)


def test_polygons_are_the_instance_png(root):
    pixels, drawn = (Cityscapes(root=str(root), source=source).load(0).targets for source in ("pixels", "polygons"))
    assert (pixels.masks.to_dense() == drawn.masks.to_dense()).all() and pixels.labels.equal(drawn.labels)


def test_maps_of_eight_bits(root):
    """An image without instances may be saved with 8 bits: only groups and stuff."""
    path = root / "gtFine" / "train" / "aachen" / "aachen_0_0_gtFine_instanceIds.png"
    save(path, np.where(instance_ids() == 26, 26, 7).astype(np.uint8))
    targets = Cityscapes(root=str(root)).load(0).targets
    assert targets.labels.tolist() == [2] and targets.crowd.tolist() == [True]


def test_chosen_classes_splits_and_recognition(root):
    found = recognize(root)
    assert list(found.splits) == ["train", "val"] and found.spec["format"] == "cityscapes"
    assert build_dataset(found.splits["val"]).name(0) == "leftImg8bit/val/bonn/bonn_0_0_leftImg8bit.png"
    dataset = Cityscapes(root=str(root), classes=["caravan", "car"])
    assert dataset.category_ids == [29, 26] and dataset.label_counts(0) == {0: 1, 1: 3}
    for arguments, message in (
        ({"classes": ["cars"]}, "no instances of 'cars'.*'car'"),
        ({"split": "trian"}, "'train'"),
        ({"split": ".."}, "no folder '..'"),
        ({"annotations": "gtFin"}, "'gtFine'"),
        ({"annotations": "../gtFine"}, "no folder '../gtFine'"),
    ):
        with pytest.raises(SegkitError, match=message):
            Cityscapes(root=str(root), **arguments)


def test_images_without_annotations(root):
    save_image(root / "leftImg8bit" / "train" / "aachen" / "aachen_1_0_leftImg8bit.png")
    assert "1 images have no annotation file" in Cityscapes(root=str(root)).summary()
    with pytest.raises(SegkitError, match=r"no image of leftImg8bit/train has a file \*_gtCoarse_polygons.json"):
        (root / "gtCoarse" / "train").mkdir(parents=True)
        Cityscapes(root=str(root), annotations="gtCoarse", source="polygons")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a mapping"),
        ({**polygons(), "imgWidth": 31}, "32 x 24 pixels, but .* says 31 x 24"),
        (polygons([("carr", [(0, 0), (1, 1), (2, 0)])]), "'carr' is not one of Cityscapes'.*'car'"),
        (polygons([("car", [])]), "list of points"),
        ({**polygons(), "objects": [{"label": "car", "polygon": [[0, 1e9], [1, 1]]}]}, "no point"),
        ({**polygons(), "objects": [{"label": "car", "polygon": [[0, None], [1, 1]]}]}, "no point"),
        (polygons([("sky", [(0, 0), (0, 1e6)] * 30)]), "too long"),
    ],
)
def test_bad_polygons(root, content, message):
    save_json(root / "gtFine" / "train" / "aachen" / "aachen_0_0_gtFine_polygons.json", content)
    with pytest.raises(SegkitError, match=f"polygons.json: .*{message}|polygons.json.*{message}"):
        Cityscapes(root=str(root), source="polygons").load(0)
