"""Each kind of fault in the annotations of a COCO file, planted alone, is found with its count and place."""

from __future__ import annotations

import json

import numpy as np
import pytest
from planted import annotation, square

from segkit.dataset_tools.check import KINDS, check_dataset


def rle(height, width, *runs):
    return {"size": [height, width], "counts": list(runs)}


def change(index=4, **values):
    """Changes values of an annotation of the training; None removes them."""

    def plant(world):
        for key, value in values.items():
            if value is None:
                del world.annotations[index][key]
            else:
                world.annotations[index][key] = value

    return plant


def add(*items):
    def plant(world):
        world.annotations.extend(json.loads(json.dumps(items)))

    return plant


def image(position, **values):
    def plant(world):
        world.images[position].update(values)

    return plant


def categories(*items):
    def plant(world):
        for split in world.coco.values():
            split["categories"].extend(items)

    return plant


def two(*plants):
    def plant(world):
        for one in plants:
            one(world)

    return plant


# Name of the case: what is planted, the expected number of faults of each kind, and object, image and place of the first
# fault of the first kind (None: not compared). Object 5 is entry 4 of the list, in train1.png.
FIFTH = (5, "train1.png", "train.json: annotations[4]")
ADDED = (99, "train0.png", "train.json: annotations[12]")
RING = [[20, 9, 28, 9, 28, 17, 20, 17, 20, 9, 22, 11, 22, 15, 26, 15, 26, 11, 22, 11]]
CASES = {
    "box of two numbers": (change(bbox=[1, 2]), {"invalid_annotation": 1}, FIFTH),
    "negative area": (change(area=-3), {"invalid_annotation": 1}, FIFTH),
    "iscrowd of text": (change(iscrowd="yes"), {"invalid_annotation": 1}, FIFTH),
    "box and area": (change(bbox="x", area="y"), {"invalid_annotation": 2}, FIFTH),
    "no mapping": (add(5), {"invalid_annotation": 1}, (None, "", "train.json: annotations[12]")),
    "segmentation of text": (change(segmentation="[[1, 2]]"), {"invalid_segmentation": 1}, FIFTH),
    "polygon of pairs": (change(segmentation=[[[1, 2], [3, 4], [5, 5]]]), {"invalid_segmentation": 1}, FIFTH),
    "damaged RLE": (change(segmentation={"size": [48, 64], "counts": "@@"}), {"invalid_segmentation": 1}, FIFTH),
    "huge whole numbers": (
        change(segmentation=[[10**400, -(10**400), 28, 9, 28, 17]]),
        {"invalid_segmentation": 1},
        FIFTH,
    ),
    "huge polygon": (change(segmentation=square(2e6, 3)), {"invalid_segmentation": 1}, FIFTH),
    "RLE of another size": (change(segmentation=rle(64, 48, 3072)), {"rle_size": 1}, FIFTH),
    "image id twice": (
        lambda world: world.images.append({**world.images[2], "file_name": "train3.png"}),
        {"repeated_image_id": 1},
        (None, "train3.png", "train.json: images[4]"),
    ),
    "annotation id twice": (change(id=1), {"repeated_annotation_id": 1}, (1, "train1.png", FIFTH[2])),
    "category id twice": (
        categories({"id": 1, "name": "other"}),
        {"repeated_category_id": 2},
        (None, "", "train.json: categories[2]"),
    ),
    "category name twice": (
        two(categories({"id": 3, "name": " nucleus"}), change(category_id=3)),
        {"repeated_category_name": 1},
        (None, "", "train.json: categories[2]"),
    ),
    "category without name": (categories({"id": 4}), {"invalid_category": 2}, (None, "", "train.json: categories[2]")),
    "category with a line break": (
        categories({"id": 4, "name": "a\nb"}),
        {"invalid_category": 2, "unused_category": 1},
        (None, "", "train.json: categories[2]"),
    ),
    "unknown image": (change(image_id=77), {"unknown_image": 1}, (5, "", FIFTH[2])),
    "image id of text": (change(image_id="1"), {"unknown_image": 1}, (5, "", FIFTH[2])),
    "unknown category": (change(category_id=9), {"unknown_category": 1}, FIFTH),
    "image without width": (
        lambda world: world.images[2].pop("width"),
        {"invalid_image_entry": 1},
        (None, "train2.png", "train.json: images[2]"),
    ),
    "name that leads out": (image(2, file_name="../a.png"), {"invalid_image_entry": 1}, (None, "../a.png", None)),
    "missing image": (image(2, file_name="gone.png"), {"missing_image": 1}, (None, "gone.png", "")),
    "shares of the image": (
        change(segmentation=[[0.1, 0.1, 0.3, 0.1, 0.3, 0.4]], bbox=[0.1, 0.1, 0.2, 0.3], area=0.02),
        {"unit_coordinates": 1},
        FIFTH,
    ),
    "box in shares": (change(bbox=[0.3, 0.2, 0.1, 0.2]), {"unit_coordinates": 1}, FIFTH),
    "box of corners": (change(bbox=[20, 9, 28, 17]), {"corner_boxes": 1}, FIFTH),
    "neither mask nor box": (change(segmentation=None, bbox=None), {"no_geometry": 1}, FIFTH),
    "flat box": (change(bbox=[20, 9, 0, 8]), {"flat_box": 1}, FIFTH),
    "flat box alone": (change(segmentation=None, bbox=[20, 9, 0, 8]), {"flat_box": 1}, FIFTH),
    "two corners": (change(segmentation=[[1, 2, 3, 4]]), {"few_corners": 1}, FIFTH),
    "two corners and a square": (
        change(segmentation=[*square(20, 9), [1, 2, 3, 4]]),
        {"few_corners": 1},
        FIFTH,
    ),
    "bow tie": (
        change(segmentation=[[20, 9, 28, 17, 28, 9, 20, 17]], area=32),
        {"self_intersecting": 1},
        FIFTH,
    ),
    "line": (
        change(segmentation=[[20, 9, 28, 17, 24, 13]]),
        {"degenerate_polygon": 1, "empty_mask": 1},
        FIFTH,
    ),
    "square over the border": (
        add(annotation(99, 1, 1, 60, 30, 12)),
        {"beyond_image": 1, "area_unlike_mask": 1},
        ADDED,
    ),
    "square outside": (add(annotation(99, 1, 1, 100, 100)), {"outside_image": 1}, ADDED),
    "box outside": (
        add({**annotation(99, 1, 1, 100, 100), "segmentation": []}),
        {"outside_image": 1},
        ADDED,
    ),
    "empty RLE": (change(segmentation=rle(48, 64, 3072)), {"empty_mask": 1}, FIFTH),
    "one pixel": (add(annotation(99, 1, 1, 50, 40, 1)), {"one_pixel_mask": 1}, ADDED),
    "small": (add(annotation(99, 1, 1, 50, 40, 3)), {"small_object": 1}, ADDED),
    "box elsewhere": (change(bbox=[40, 30, 8, 8]), {"mask_unlike_box": 1}, FIFTH),
    "area of another": (change(area=500), {"area_unlike_mask": 1}, FIFTH),
    "two parts of an RLE": (
        add({"id": 99, "image_id": 1, "category_id": 1, "segmentation": rle(48, 64, 2600, 6, 4, 5, 457)}),
        {"object_in_parts": 1},
        ADDED,
    ),
    "two polygons": (
        change(segmentation=[*square(20, 9), *square(40, 30)], bbox=[20, 9, 28, 29], area=128),
        {"several_polygons": 1},
        FIFTH,
    ),
    "ring": (change(segmentation=RING, area=48), {"hole": 1}, FIFTH),
    "twice": (add(annotation(99, 1, 1, 5, 6)), {"duplicate_object": 1}, ADDED),
    "nearly twice": (
        two(change(0, segmentation=square(5, 6, 30), bbox=[5, 6, 30, 30], area=900),
            add({**annotation(99, 1, 1, 5, 6, 30), "segmentation": [[5, 6, 35, 6, 35, 36, 6, 36, 5, 35]]})),
        {"near_duplicate_object": 1},
        ADDED,
    ),
    "as another class": (add(annotation(99, 1, 2, 5, 6)), {"same_mask_two_classes": 1}, ADDED),
    "names in two cases": (
        two(categories({"id": 3, "name": "Cell"}), change(category_id=3)),
        {"similar_class_names": 2, "class_missing_in_split": 1},
        (None, "", "class 'Cell'"),
    ),
    "class without objects": (categories({"id": 3, "name": "spare"}), {"unused_category": 1}, (None, "", None)),
    "no objects": (
        lambda world: world.coco["train"].update(annotations=world.annotations[3:]),
        {"no_objects": 1},
        (None, "train0.png", None),
    ),
    "mostly crowd": (
        lambda world: [change(i, iscrowd=1)(world) for i in (0, 1)],
        {"mostly_crowd": 1},
        (None, "train0.png", ""),
    ),
    "other classes": (
        lambda world: (
            world.coco["val"]["categories"].append({"id": 5, "name": "tree"}),
            world.coco["val"]["annotations"][0].update(category_id=5),
        ),
        {"different_classes": 1, "class_only_outside_training": 1},
        (None, "", "val"),
    ),
    "class that one split does not list": (
        lambda world: world.coco["train"]["categories"].append({"id": 5, "name": "tree"}),
        {"unused_category": 1},
        (None, "", None),
    ),
    "class to validate only": (
        lambda world: [change(i, category_id=1)(world) for i in range(12)],
        {"class_only_outside_training": 1},
        (None, "", "class 'nucleus'"),
    ),
    "class to train only": (
        lambda world: [one.update(category_id=1) for one in world.coco["val"]["annotations"]],
        {"class_missing_in_split": 1},
        (None, "", "class 'nucleus'"),
    ),
}  # fmt: skip
PLANTED = {kind for _, counts, _ in CASES.values() for kind in counts}


def test_clean_data_have_no_fault(annotated):
    report = annotated.check()
    assert not report.faults and report.ok
    assert "8 images" in report.sentence and "24 objects" in report.sentence and "train 4, val 4" in report.sentence


@pytest.mark.parametrize("case", CASES)
def test_a_planted_fault_is_found_alone(annotated, case):
    plant, expected, (item, name, place) = CASES[case]
    plant(annotated)
    report = annotated.check(pixels=False)
    assert report.counts() == expected
    first = report.of_kind(next(iter(expected)))[0]
    assert first.object == item and first.image == name
    assert place is None or first.place.endswith(place)
    assert report.ok == all(KINDS[kind].severity != "error" for kind in expected)


def test_all_faults_together_are_found(annotated):
    """A file with many kinds of faults is read to its end."""
    together = [case for case in CASES if CASES[case][0].__qualname__.startswith("add")]
    for case in together:
        CASES[case][0](annotated)
    change(7, bbox="x")(annotated)
    change(8, segmentation=7)(annotated)
    kinds = set(annotated.check(pixels=False).counts())
    expected = {kind for case in together for kind in CASES[case][1]}
    assert kinds >= expected - {"repeated_annotation_id"} | {"invalid_annotation", "invalid_segmentation"}


def test_boxes_of_corners_without_masks(annotated):
    """Only all boxes together show that they are XYXY; they are read as such afterwards."""
    for split in annotated.coco.values():
        for one in split["annotations"]:
            x, y, width, height = one["bbox"]
            one.update(bbox=[x + 20, y + 10, x + width + 20 if x < 30 else 64, y + height + 10], segmentation=[])
    counts = annotated.check(pixels=False).counts()
    assert counts == {"corner_boxes": 24}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": [], "annotations": [{"a": 1}'], ids=["0", "1", "2", "3"])
def test_a_file_that_is_no_coco_json_is_one_error(annotated, text):
    specs = annotated.specs()
    (annotated.root / "val.json").write_text(text)
    report = check_dataset(specs, workers=0)
    assert [fault.split for fault in report.of_kind("unreadable_annotations")] == ["val"]
    assert list(report.splits) == ["train"]


def test_a_file_that_ends_early_is_checked_to_there(annotated):
    annotated.coco["train"] = {key: annotated.coco["train"][key] for key in ("images", "categories", "annotations")}
    change(bbox=[1, 2])(annotated)
    specs = annotated.specs()
    file = annotated.root / "train.json"
    file.write_text(file.read_text()[:-300])
    counts = check_dataset(specs, workers=0).counts()
    assert counts["unreadable_annotations"] == 1 and counts["invalid_annotation"] == 1


def test_rare_classes(annotated):
    annotated.coco.pop("val")
    rng = np.random.default_rng(0)
    for i in range(1200):
        x, y = rng.integers(1, 40, 2).tolist()
        annotated.annotations.append(annotation(100 + i, i % 4 + 1, 2, x + i / 1200, y - 0.5, 6 + i % 7))
    report = annotated.check(pixels=False, detections=400)
    assert report.counts()["class_imbalance"] == 1 and "'cell'" in report.of_kind("class_imbalance")[0].message
    assert "over_detection_limit" not in report.counts()
    assert annotated.check(pixels=False, detections=299).counts()["over_detection_limit"] == 4
