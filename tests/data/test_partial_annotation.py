"""Ignore regions, annotated regions and classes that are not annotated everywhere, in every format."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data import PartialAnnotation, build_dataset, from_torchvision, register_dataset
from segkit.data.formats import ImageAnnotation, ObjectAnnotation, ParsedDataset
from segkit.evaluation.predictions import evaluate_predictions
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.errors import SegkitError

H, W = 20, 30


def square(x0, y0, x1, y1):
    return [float(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]


# By image: (category, box XYXY, crowd, has a mask)
OBJECTS = [
    [
        ("cell", (2, 2, 6, 6), False, True),
        ("roi", (0, 0, 15, 20), False, True),
        ("ignore", (8, 8, 12, 14), False, True),
        ("cell", (20, 4, 25, 9), False, True),
    ],
    [("cell", (1, 1, 5, 4), False, False), ("ignore", (10, 10, 14, 15), False, False), ("cell", (16, 2, 20, 9), True, True)],
    [("debris", (3, 3, 8, 8), False, True), ("roi", (5.4, 5.6, 20.5, 15.5), False, False)],
]  # fmt: skip
REGIONS = PartialAnnotation(("ignore",), "roi")


def write_coco(folder, objects=OBJECTS, names=("cell", "roi", "ignore", "debris")):
    annotations = []
    for image_id, one in enumerate(objects, 1):
        for name, (x0, y0, x1, y1), crowd, masked in one:
            item = {"id": len(annotations) + 1, "image_id": image_id, "category_id": names.index(name) + 1}
            item |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": int(crowd)}
            annotations.append({**item, "segmentation": [square(x0, y0, x1, y1)] if masked else None})
        Image.new("RGB", (W, H)).save(folder / f"{image_id}.png")
    images = [{"id": i + 1, "file_name": f"{i + 1}.png", "height": H, "width": W} for i in range(len(objects))]
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    (folder / "a.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return {"format": "coco", "json": str(folder / "a.json"), "images": str(folder)}


class Parsed(ParsedDataset):
    """The same objects as a parsed format."""

    def __init__(self, *, folder, classes=None, category_ids=None):
        images = [
            ImageAnnotation(
                f"{folder}/{i}.png",
                f"{i}.png",
                (H, W),
                [
                    ObjectAnnotation(name, box, [square(*box)] if masked else None, crowd=crowd)
                    for name, box, crowd, masked in objects
                ],
            )
            for i, objects in enumerate(OBJECTS, 1)
        ]
        super().__init__(images, ["cell", "roi", "ignore", "debris"], classes, category_ids, where="test")


def write_label_maps(folder):
    """class1: cells, class2: the annotated region, class3: ignored; the second image has no region."""
    for image in (1, 2):
        (folder / f"i{image}").mkdir()
        Image.new("RGB", (W, H)).save(folder / f"i{image}" / "image.png")
        maps = {1: np.zeros((H, W), np.uint8), 2: np.zeros((H, W), np.uint8), 3: np.zeros((H, W), np.uint8)}
        maps[1][2:6, 2:6], maps[1][4:9, 20:25] = 1, 2
        maps[2][:, :15] = 1
        maps[3][8:14, 8:12] = 1
        for k, labels in maps.items():
            if not (image == 2 and k == 2):
                Image.fromarray(labels).save(folder / f"i{image}" / f"class{k}.png")
    return {"format": "label_map", "root": str(folder)}


@pytest.fixture(params=["coco", "parsed"])
def spec(request, tmp_path):
    written = write_coco(tmp_path)
    if request.param == "coco":
        yield written
        return
    DATASET_FORMAT_REGISTRY.register(Parsed, name="parsed_test")
    yield {"format": "parsed_test", "folder": str(tmp_path)}
    del DATASET_FORMAT_REGISTRY._obj_map["parsed_test"]


def dense(targets, chosen):
    return targets[chosen].masks.to_dense().any(0)


def test_regions_are_no_classes(spec):
    data = build_dataset(spec, partial=REGIONS)
    assert data.classes == ["cell", "debris"] and data.category_ids == [1, 4]
    assert data.object_counts().tolist() == [2, 1, 1]
    assert data.unmasked_counts().tolist() == [0, 1, 0]
    assert data.label_counts(0) == {0: 2} and data.label_counts(2) == {1: 1}
    assert data.training_objects(0)[:2] == (2, 2) and data.training_objects(1)[:2] == (1, 2)
    assert data.subset([2, 0]).object_counts().tolist() == [1, 2]
    assert data.subset([1]).counts_of([0]).tolist() == [1]


def test_the_outside_of_annotated_regions_is_one_exact_region(spec):
    data = build_dataset(spec, partial=REGIONS)
    targets = data.load(0).targets
    assert targets.labels.tolist() == [0, ALL_CLASSES, 0, ALL_CLASSES] and targets.crowd.tolist() == [0, 1, 0, 1]
    outside = torch.ones(H, W, dtype=torch.bool)
    outside[:, :15] = False
    assert torch.equal(dense(targets, [3]), outside)
    assert targets.masks.crop_boxes[3].tolist() == [15, 0, 30, 20]  # stored in its box
    ignored = torch.zeros(H, W, dtype=torch.bool)
    ignored[8:14, 8:12] = True
    assert torch.equal(dense(targets, [1]), ignored)
    again = data.targets(0)
    assert torch.equal(again.labels, targets.labels) and torch.equal(again.masks.bits, targets.masks.bits)


def test_a_region_may_be_a_box_and_an_image_may_have_none(spec):
    data = build_dataset(spec, partial=REGIONS)
    outside = torch.ones(H, W, dtype=torch.bool)
    outside[6:16, 5:20] = False  # the box's corners, rounded
    assert torch.equal(dense(data.load(2).targets, [1]), outside)
    second = data.load(1).targets
    assert second.labels.tolist() == [0, ALL_CLASSES, 0, ALL_CLASSES]
    assert second.crowd.tolist() == [False, True, True, True] and second.has_mask.tolist() == [False, False, True, True]
    assert dense(second, [3]).all()
    notes = "\n".join(data.notes())
    assert "2 of 'ignore' in 2 images are ignore regions" in notes and "labels without these: 0 cell, 1 debris" in notes
    assert "1 images have no region of 'roi'" in notes and "2.png" in notes


def test_ground_truth_has_the_regions_as_crowds_of_all_classes(spec):
    data = build_dataset(spec, partial=REGIONS)
    truth = data.ground_truth(0, data.load(0))
    assert [(item["label"], item["iscrowd"]) for item in truth] == [(0, 0), (-1, 1), (0, 0), (-1, 1)]
    assert truth[3]["bbox"] == [15, 0, 15, 20] and truth[3]["area"] == 300
    assert truth[1]["bbox"] == [8, 8, 4, 6]


def test_predictions_made_elsewhere_are_evaluated_by_the_regions(spec):
    """All objects are found, and as many false positives in the regions, which only count without them."""
    data, plain = build_dataset(spec, partial=REGIONS), build_dataset(spec)
    results = []
    for index, image_id in enumerate(data.image_ids):
        for item in data.ground_truth(index, data.load(index)):
            if not item["iscrowd"]:
                found = {"image_id": image_id, "category_id": data.category_ids[item["label"]], "bbox": item["bbox"]}
                results.append({**found, "score": 0.5})
        for bbox in ([16, 12, 12, 7], [8, 8, 4, 6]) if index == 0 else ():
            results.append({"image_id": image_id, "category_id": 1, "bbox": bbox, "score": 0.9})
    assert evaluate_predictions(results, data)["bbox/AP"] == pytest.approx(1)
    assert evaluate_predictions(results, plain)["bbox/AP-cell"] < 0.9


class Pairs:
    """The same objects as torchvision's pairs."""

    def __len__(self):
        return len(OBJECTS)

    def __getitem__(self, index):
        names, boxes, crowd, masked = zip(*OBJECTS[index], strict=True)
        masks = torch.zeros(len(boxes), H, W, dtype=torch.uint8)
        for mask, (x0, y0, x1, y1), has_mask in zip(masks, boxes, masked, strict=True):
            if has_mask:
                mask[y0:y1, x0:x1] = 1
        labels = [["cell", "roi", "ignore", "debris"].index(name) + 1 for name in names]
        target = {"boxes": boxes, "labels": labels, "masks": masks, "iscrowd": crowd, "has_mask": masked}
        return torch.zeros(3, H, W, dtype=torch.uint8), target


def test_pairs_have_the_same_regions(tmp_path):
    pairs = from_torchvision(Pairs(), ["cell", "roi", "ignore", "debris"])
    register_dataset("pairs_with_regions", lambda: pairs)
    data = build_dataset({"format": "catalog", "name": "pairs_with_regions"}, partial=REGIONS)
    expected = build_dataset(write_coco(tmp_path), partial=REGIONS)
    assert data.classes == expected.classes
    for index in range(3):
        found, same = data.load(index), expected.load(index)
        for name in ("boxes", "labels", "crowd", "has_mask"):
            assert torch.equal(getattr(found.targets, name), getattr(same.targets, name))
        assert torch.equal(found.targets.masks.bits, same.targets.masks.bits)
        for item, other in zip(data.ground_truth(index, found), expected.ground_truth(index, same), strict=True):
            assert {**item, "bbox": pytest.approx(item["bbox"]), "area": pytest.approx(item["area"], rel=1e-6)} == other
    assert "2 of 'ignore' in 2 images are ignore regions" in data.summary()


def test_label_maps(tmp_path):
    partial = PartialAnnotation(("class3",), "class2", ("class1",))
    data = build_dataset(write_label_maps(tmp_path), partial=partial)
    assert data.classes == ["class1"] and data.object_counts() is None
    first, second = data.load(0).targets, data.load(1).targets
    assert first.labels.tolist() == [0, 0, ALL_CLASSES, ALL_CLASSES] and second.labels.tolist() == first.labels.tolist()
    assert int(first.masks.areas()[3]) == 300 and int(second.masks.areas()[3]) == H * W
    assert first.unlabelled.tolist() == [0]


def test_validation_data_get_the_training_classes(tmp_path):
    data = build_dataset(write_coco(tmp_path), partial=REGIONS)
    folder = tmp_path / "val"
    folder.mkdir()
    spec = write_coco(folder, [[("debris", (3, 3, 8, 8), False, True)]], ("debris",))
    val = build_dataset(spec, data.classes, data.category_ids, partial=REGIONS)
    assert val.classes == data.classes
    assert val.load(0).targets.labels.tolist() == [1, ALL_CLASSES]  # without a region nothing is annotated
    maps = tmp_path / "maps"
    maps.mkdir()
    named = build_dataset(write_label_maps(maps), ["cell"], [1], partial=PartialAnnotation(("class3",), "class2"))
    assert named.classes == ["cell"] and named.load(0).targets.labels.tolist() == [0, 0, ALL_CLASSES, ALL_CLASSES]


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        ({"ignore_classes": ("ignroe",)}, "data.ignore_classes", "did you mean 'ignore'"),
        ({"annotated_region_class": "rio"}, "data.annotated_region_class", "did you mean 'roi'"),
        ({"not_exhaustive": ("cel",)}, "data.not_exhaustive", "did you mean 'cell'"),
        (
            {"ignore_classes": ("roi",), "annotated_region_class": "roi"},
            "data.annotated_region_class",
            "ignore_classes",
        ),
        ({"ignore_classes": ("roi", "roi")}, "data.ignore_classes", "twice"),
    ],
)
def test_mistaken_names(tmp_path, arguments, key, said):
    spec = write_coco(tmp_path)
    with pytest.raises(SegkitError) as caught:
        build_dataset(spec, partial=PartialAnnotation(**arguments))
    assert caught.value.key == key and said in str(caught.value)


def test_a_class_is_no_region(tmp_path):
    with pytest.raises(SegkitError, match=r"'roi' is a class there and a region by data\.annotated_region_class"):
        build_dataset(write_coco(tmp_path), ["cell", "debris", "roi"], partial=REGIONS)


def test_without_partial_annotation_nothing_is_wrapped(tmp_path):
    spec = write_coco(tmp_path)
    assert type(build_dataset(spec, partial=PartialAnnotation())) is type(build_dataset(spec))


def test_windows_count_the_regions_of_the_data_once(spec, monkeypatch):
    """Each crop of a large image asks for its objects; counting reads all annotations."""
    data = build_dataset(spec, partial=REGIONS)
    counted = []
    count = type(data.dataset).counts_of
    monkeypatch.setattr(
        type(data.dataset), "counts_of", lambda *args, **kwargs: counted.append(1) or count(*args, **kwargs)
    )
    for _ in range(3):
        targets, others = data.window_targets(0, (0, 0, 7, 7))
        assert others == 1 and targets.labels.tolist().count(ALL_CLASSES) < 2  # one cell is outside of the window
    assert len(counted) == 1
