import copy
import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_util

from segkit.data import Coco, array_cache
from segkit.data.formats.coco import table as coco_table
from segkit.utils.errors import SegkitError


def test_reads_all_segmentation_kinds_in_order(coco_files):
    write, content = coco_files
    dataset = Coco(**write())
    assert dataset.classes == ["dust", "cell"] and dataset.category_ids == [2, 9] and dataset.image_ids == [10, 4, 6]
    sample = dataset.load(0)
    assert sample.targets.labels.tolist() == [1, 0, 1] and sample.targets.crowd.tolist() == [False, False, True]
    polygons = mask_util.merge(mask_util.frPyObjects(content["annotations"][1]["segmentation"], 20, 30))
    expected = [
        mask_util.decode(content["annotations"][0]["segmentation"]),
        mask_util.decode(polygons),
        mask_util.decode(mask_util.frPyObjects(content["annotations"][2]["segmentation"], 20, 30)),
    ]
    assert (sample.targets.masks.to_dense().numpy() == np.stack(expected)).all()
    assert (sample.targets.boxes == sample.targets.masks.boxes()).all()
    assert dataset.label_counts(0) == {1: 2, 0: 1} and len(dataset.load(2).targets) == 0


def test_evaluation_gets_the_files_boxes_and_areas(coco_files):
    write, _ = coco_files
    dataset = Coco(**write())
    sample = dataset.load(0)
    truth = dataset.ground_truth(0, sample)
    assert truth[0]["bbox"] == [6, 4, 10, 5] and truth[0]["area"] == 49.5  # the file's
    assert truth[1]["area"] == float(sample.targets.masks.areas()[1])  # the mask's, the file has none
    assert [t["iscrowd"] for t in truth] == [0, 0, 1] and [t["label"] for t in truth] == [1, 0, 1]
    assert isinstance(truth[1]["segmentation"]["counts"], str)


def test_objects_are_counted_without_crowds_and_without_reading_masks(coco_files):
    write, content = coco_files
    crowd = {"image_id": 6, "category_id": 9, "iscrowd": 1, "bbox": [0, 0, 1, 5]}
    crowd["segmentation"] = content["annotations"][2]["segmentation"]
    dataset = Coco(**write(annotations=[crowd, *content["annotations"]]))
    assert dataset.object_counts().tolist() == [2, 2, 0]
    assert dataset.subset([2, 0]).object_counts().tolist() == [0, 2]


def test_skipped_objects_are_in_the_summary(coco_files):
    dataset = Coco(**coco_files[0]())
    assert dataset.load(1).targets.has_mask.tolist() == [
        True,
        False,
    ]  # the second has no valid polygon and keeps its box
    summary = dataset.summary()
    assert "skipped: 2 polygons with fewer than three corners" in summary
    assert "note: 1 objects have a box and no mask" in summary
    assert "skipped: 1 objects with a box of no width or height" in summary
    assert "1 images have no objects" in summary and "1 of them crowd" in summary


def test_masks_that_come_out_empty_are_dropped_but_evaluated(coco_files):
    write, content = coco_files
    speck = {"image_id": 6, "category_id": 9, "segmentation": [[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]], "bbox": [3, 3, 1, 1]}
    dataset = Coco(**write(annotations=[speck, *content["annotations"]]))
    sample = dataset.load(2)
    assert sample.dropped == 1 and len(sample.targets) == 0
    assert len(dataset.ground_truth(2, sample)) == 1


def test_classes_of_the_configuration(coco_files):
    write, _ = coco_files
    dataset = Coco(**write(), classes=["cell", "fibre", "dust"])
    assert dataset.category_ids == [9, 10, 2] and dataset.load(0).targets.labels.tolist() == [0, 2, 0]
    assert "classes fibre" in dataset.summary()
    with pytest.raises(SegkitError, match="category 'dust' is not among the classes; did you mean 'dusty'"):
        Coco(**write(), classes=["cell", "dusty"])


def test_categories_without_objects_need_not_be_classes(coco_files):
    write, content = coco_files
    categories = [{"id": 1, "name": "lint"}, *content["categories"], {"id": 10, "name": "hair"}]
    dataset = Coco(**write(categories=categories), classes=["dust", "fibre", "cell"])
    assert dataset.category_ids == [2, 11, 9]  # 10 is the file's id of another category
    assert dataset.load(0).targets.labels.tolist() == [2, 0, 2]
    assert "categories that are not among the classes, and without any object: lint, hair" in dataset.summary()


def _with(change, key="annotations"):
    def spoiled(content):
        items = copy.deepcopy(content[key])
        items[0].update(change)
        return {key: items}

    return spoiled


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: {"annotations": {}}, "not in the COCO format: there is no list 'annotations'"),
        (lambda c: {"images": []}, "annotations.0.: there is no image with the id 10|lists no images"),
        (lambda c: {"images": [3]}, r"images\[0\] is 3"),
        (_with({"category_id": 3}), r"annotations\[0\]: category_id 3 is not one of the file's categories, 2, 9"),
        (_with({"category_id": [3]}), r"annotations\[0\]: 'category_id' is \[3\]; expected a whole number$"),
        (_with({"image_id": 99}), r"annotations\[0\]: there is no image with the id 99"),
        (_with({"bbox": [1, 2, 3]}), r"annotations\[0\]: 'bbox' is \[1, 2, 3\]"),
        (_with({"bbox": [1, 2, 3, None]}), r"annotations\[0\]: 'bbox'"),
        (_with({"area": -1}), r"annotations\[0\]: 'area' is -1"),
        (_with({"iscrowd": 2}), r"annotations\[0\]: 'iscrowd' is 2"),
        (_with({"segmentation": "x"}), r"annotations\[0\]: 'segmentation' is the text 'x'"),
        (_with({"segmentation": [1, 2, 3, 4, 5, 6]}), r"annotations\[0\]: 'segmentation' is a flat list of numbers, \[1, 2, 3"),
        (_with({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}), r"annotations\[0\]: a polygon is"),
        (_with({"segmentation": {"size": [30, 20], "counts": [600]}}), r"the RLE's size is \[30, 20\]"),
        (_with({"segmentation": {"size": [20, 30], "counts": [599]}}), "add up to 599 pixels; 20 x 30 pixels are 600"),
        (_with({"segmentation": {"size": [20, 30], "counts": [-1, 601]}}), r"counts\[0\] is -1"),
        (_with({"segmentation": {"size": [20, 30], "counts": "zzzz"}}), "counts are invalid"),
        (_with({"segmentation": {"size": [20, 30], "counts": 5}}), "'counts' is 5"),
        (_with({"file_name": "../x.png"}, "images"), "leads out of the folder"),
        (_with({"file_name": "/etc/x.png"}, "images"), "leads out of the folder"),
        (_with({"file_name": "q.png"}, "images"), r"1 of the 3 images of .* are missing: q.png"),
        (_with({"id": 4}, "images"), r"images\[1\]: the id 4 occurs twice"),
        (_with({"height": None}, "images"), "needs 'height' and 'width'"),
        (_with({"id": 2}, "categories"), r"categories\[1\] \('dust'\) repeats the id 2 of categories\[0\] \('cell'\)"),
        (_with({"name": None}, "categories"), r"categories\[0\]: 'name' is null; expected text; each category needs"),
    ],
)  # fmt: skip
def test_mistakes_are_named(coco_files, spoil, message):
    write, content = coco_files
    with pytest.raises(SegkitError, match=message):
        Coco(**write(**spoil(content)))


def test_files_that_are_no_coco(coco_files, tmp_path):
    arguments = coco_files[0]()
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SegkitError, match=r"bad.json: is not a JSON file"):
        Coco(**{**arguments, "json": str(tmp_path / "bad.json")})
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(SegkitError, match=r"not in the COCO format.*no mapping"):
        Coco(**{**arguments, "json": str(tmp_path / "bad.json")})
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SegkitError, match="is not a JSON file"):
        Coco(**{**arguments, "json": str(tmp_path / "bad.json")})
    with pytest.raises(SegkitError, match="does not exist"):
        Coco(**{**arguments, "json": str(tmp_path / "none.json")})
    with pytest.raises(SegkitError, match="is not a folder"):
        Coco(**{**arguments, "images": arguments["json"]})


def test_image_of_another_size(coco_files):
    write, content = coco_files
    images = copy.deepcopy(content["images"])
    images[2]["width"] = 31
    with pytest.raises(SegkitError, match=r"z.png: the image is 30 x 20 pixels, but .* says 31 x 20"):
        Coco(**write(images=images)).load(2)


def test_errors_of_polygons_name_file_and_image(coco_files):
    write, content = coco_files
    files = write(**_with({"segmentation": [[0, 0, 1e9, 0, 5, 5]]})(content))
    with pytest.raises(
        SegkitError, match=r"instances\.json: the annotations of the image '.*': objects\[0\], polygon 0: .*at most"
    ):
        Coco(**files).load(0)


def test_keys_in_any_order(coco_files):
    write, content = coco_files
    arguments = write()
    expected = everything(Coco(**arguments))
    for keys in itertools.permutations(content):
        Path(arguments["json"]).write_text(json.dumps({"info": {"x": [{}]}, **{key: content[key] for key in keys}}))
        assert everything(Coco(**arguments)) == expected


def test_without_annotations(coco_files):
    dataset = Coco(**coco_files[0](annotations=[]))
    assert (
        len(dataset.load(1).targets) == 0
        and dataset.label_counts(0) == {}
        and dataset.ground_truth(0, dataset.load(0)) == []
    )
    assert "3 images have no objects" in dataset.summary()


def everything(dataset):
    truth = [dataset.ground_truth(i, dataset.load(i)) for i in range(len(dataset))]
    counts = [dataset.label_counts(i) for i in range(len(dataset))]
    sizes = [dataset.size(i) for i in range(len(dataset))]
    return truth, counts, sizes, dataset.summary(), dataset.classes, dataset.category_ids, dataset.image_ids


def test_cached_annotations_are_the_same(coco_files, tmp_path, monkeypatch):
    arguments = coco_files[0]()
    expected = everything(Coco(**arguments))
    monkeypatch.setattr(array_cache, "MIN_CACHED_BYTES", 1)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    assert everything(Coco(**arguments)) == expected
    monkeypatch.setattr(coco_table, "write_table", None)  # it is not read again
    assert everything(Coco(**arguments)) == expected
    assert everything(pickle.loads(pickle.dumps(Coco(**arguments)))) == expected  # as in a spawned worker
    # Classes of the configuration and image files are not in the JSON, and not taken from the cache.
    assert Coco(**arguments, classes=["dust", "fibre", "cell"]).load(0).targets.labels.tolist() == [2, 0, 2]
    (Path(arguments["images"]) / "z.png").unlink()
    with pytest.raises(SegkitError, match=r"1 of the 3 images of .* are missing: z.png"):
        Coco(**arguments)


def test_ids_written_as_whole_floats(coco_files):
    write, content = coco_files
    items = copy.deepcopy(content["annotations"])
    for item in items:
        item["image_id"] = float(item["image_id"])
    items[2]["segmentation"]["size"] = [20.0, 30.0]
    assert everything(Coco(**write(annotations=items)))[:3] == everything(Coco(**write()))[:3]


def test_errors_name_the_annotation(coco_files):
    write, content = coco_files
    for number, change, message in (
        (3, {"image_id": 99}, r"annotations\[3\]: there is no image with the id 99"),
        (
            3,
            {"image_id": "4"},
            r"annotations\[3\]: 'image_id' is the text '4'; expected a whole number, without quotes$",
        ),
        (4, {"category_id": 10**30}, r"annotations\[4\]: 'category_id' is 1000000"),
        (5, {"category_id": 5}, r"annotations\[5\]: category_id 5 is not one of"),  # although its box is skipped
        (2, {"segmentation": {"size": [30, 20], "counts": [600]}}, r"annotations\[2\]: the RLE's size is \[30, 20\]"),
        (2, {"segmentation": {"size": "x", "counts": [600]}}, r"annotations\[2\]: the RLE's size is the text 'x'"),
        (2, {"segmentation": {"size": [20, 30], "counts": "é"}}, r"annotations\[2\]: the RLE's counts are invalid"),
        (1, {"segmentation": [[True, 1, 2, 3, 4, 5]]}, r"annotations\[1\]: a polygon is \[True"),
        (1, {"segmentation": [[10**400, 1, 2, 3, 4, 5]]}, r"annotations\[1\]: a polygon is \[1000"),
        (1, {"bbox": [1, 2, float("nan"), 3]}, r"annotations\[1\]: 'bbox' is \[1, 2, nan"),
    ):
        items = copy.deepcopy(content["annotations"])
        items[number].update(change)
        with pytest.raises(SegkitError, match=message):
            Coco(**write(annotations=items))
