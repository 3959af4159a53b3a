"""Values in a COCO JSON, valid and invalid: ids, names, polygons, run lengths."""

import copy

import numpy as np
import pytest
from pycocotools import mask as mask_util

from segkit.data import Coco
from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

SIZE = (20, 30)


@pytest.fixture
def dense():
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[4:9, 6:16] = 1
    return mask


def runs(mask):
    """COCO's uncompressed counts, by brute force."""
    counts, value = [0], 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def first_with(content, key="annotations", **change):
    items = copy.deepcopy(content[key])
    items[0].update(change)
    return {key: items}


RECTANGLE = [6, 4, 16, 4, 16, 9, 6, 9]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[6, 4], [16, 4], [16, 9], [6, 9]], r"a list of x, y pairs, \[\[6, 4\], \[16"),
        ([[6.5, 4.0], [16.0, 4.0]], "a list of x, y pairs"),
        ([[[6, 4], [16, 4], [16, 9], [6, 9]]], r"a polygon is a list of x, y pairs, \[\[6, 4\]"),
        ([[[6, 4], [16, 4], [16, 9]], [[1, 1], [2, 2], [3, 1]]], "a polygon is a list of x, y pairs"),
        ([["6", "4"], ["16", "4"], ["16", "9"]], "a list of x, y pairs"),
        ([{"x": 6, "y": 4}, {"x": 16, "y": 4}, {"x": 16, "y": 9}], "a polygon's points are mappings"),
        ([[{"x": 6, "y": 4}, {"x": 16, "y": 4}, {"x": 16, "y": 9}]], "a polygon's points are mappings"),
        ([[RECTANGLE]], "one pair of brackets too many"),
        (RECTANGLE, r"'segmentation' is a flat list of numbers, \[6, 4"),
        ("[[6, 4, 16, 4, 16, 9]]", "JSON in a string"),
        ([[6, 4, 16, 4, 16, 9, 6]], r"a polygon is .*, 7 numbers; expected an even number"),
        ([["6", "4", "16", "4", "16", "9"]], "expected a flat list of finite numbers"),
        ([[6, 4, 16, 4, 16, None]], "expected a flat list of finite numbers"),
        ([{"size": [20, 30], "counts": [600]}], "one RLE that is not in a list"),
        ({"points": RECTANGLE}, "a mapping with 'points'; expected an RLE"),
        (7, "'segmentation' is 7; expected polygons or RLE"),
    ],
)
def test_invalid_segmentations(coco_files, segmentation, message):
    write, content = coco_files
    with pytest.raises(SegkitError, match=rf"instances.json: annotations\[0\]: .*{message}"):
        Coco(**write(**first_with(content, segmentation=segmentation)))


@pytest.mark.parametrize("spell", [list, lambda r: [float(c) for c in r]])
@pytest.mark.parametrize("size", [[20, 30], [20.0, 30.0]])
def test_valid_run_lengths(coco_files, dense, spell, size):
    write, content = coco_files
    rle = {"size": size, "counts": spell(runs(dense))}
    masks = Coco(**write(**first_with(content, segmentation=rle))).load(0).targets.masks
    assert (masks.to_dense()[0].numpy() == dense).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"counts": str(mask_util.encode(m)["counts"])}, r"bytes printed as text.*write counts\.decode\(\)"),
        (lambda m: {"counts": runs(m)[:-1]}, r"add up to \d+ pixels; 20 x 30 pixels are 600$"),
        (lambda m: {"counts": [100.5, 20, 479.5]}, r"counts\[0\] is 100.5; expected a whole number$"),
        (lambda m: {"counts": [580, 30, -10]}, r"counts\[2\] is -10"),
        (lambda m: {"counts": [580, float("nan"), 20]}, r"counts\[1\] is nan; expected a whole number$"),
        (lambda m: {"counts": [580, "20"]}, r"counts\[1\] is the text '20'; expected a whole number$"),
        (lambda m: {"counts": [580, True, 19]}, r"counts\[1\] is true; expected a whole number$"),
        (lambda m: {"counts": [runs(m)]}, "counts are a list of lists"),
        (lambda m: {"counts": {"a": 1}}, r"'counts' is \{'a': 1\}; expected a string or a list$"),
        (lambda m: {"counts": "not a code"}, r"'not a code' .*compressed RLE$"),
        (lambda m: {"counts": mask_util.encode(m[:, :20].copy("F"))["counts"].decode()}, "cover 400 pixels; 20 x 30"),
        (
            lambda m: {"counts": runs(m), "size": [30, 20]},
            r"size is \[30, 20\]; .* is \[20, 30\]: the two are swapped$",
        ),
        (lambda m: {"counts": [380], "size": [20, 19]}, r"the RLE's size is \[20, 19\]; .* is \[20, 30\]$"),
        (lambda m: {"counts": runs(m), "size": None}, "size is null; expected the image's"),
        (
            lambda m: {"counts": runs(m), "size": ["20", "30"]},
            r"size is \['20', '30'\]; expected .* two whole numbers$",
        ),
    ],
)
def test_invalid_run_lengths(coco_files, dense, change, message):
    write, content = coco_files
    rle = {"size": [20, 30], **change(dense)}
    with pytest.raises(SegkitError, match=rf"annotations\[0\]: .*{message}"):
        Coco(**write(**first_with(content, segmentation=rle)))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1.5, 598.5], r"counts .* 1.5; expected whole numbers"),
        ([-1, 601], r"counts .* -1, a negative number"),
        ([float("nan"), 600], r"counts .* nan; expected whole numbers"),
        ([[300, 300]], r"counts are \[\[300, 300\]\]; expected a string or a flat list"),
        (["a", "b"], r"counts are \['a', 'b'\]; expected a string or a flat list"),
    ],
)
def test_fractional_run_lengths_are_an_error(counts, message):
    with pytest.raises(SegkitError, match=rf"objects\[0\]: RLE {message}"):
        InstanceMasks.from_rle([{"size": [20, 30], "counts": counts}], SIZE)


def test_masks_from_whole_floats(dense):
    rle = {"size": [20, 30], "counts": np.array(runs(dense), np.float64)}
    assert (InstanceMasks.from_rle([rle]).to_dense()[0].numpy() == dense).all()
    with pytest.raises(SegkitError, match=r"objects\[0\]: an RLE has 'size' and 'counts'; this one has counts"):
        InstanceMasks.from_rle([{"counts": [600]}])


def test_whole_floats_and_nulls_are_valid(coco_files):
    write, content = coco_files
    as_floats = copy.deepcopy({key: content[key] for key in ("images", "annotations", "categories")})
    for item in (*as_floats["images"], *as_floats["annotations"], *as_floats["categories"]):
        for key in ("id", "image_id", "category_id", "height", "width"):
            if key in item:
                item[key] = float(item[key])
    as_floats["annotations"][0]["iscrowd"] = None
    as_floats["annotations"][2]["iscrowd"] = True
    dataset, plain = Coco(**write(**as_floats)), None
    found = [dataset.ground_truth(i, dataset.load(i)) for i in range(3)], dataset.image_ids, dataset.category_ids
    plain = Coco(**write())
    assert found == ([plain.ground_truth(i, plain.load(i)) for i in range(3)], plain.image_ids, plain.category_ids)
    assert all(type(number) is int for number in (*dataset.image_ids, *dataset.category_ids))


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("annotations", {"image_id": "10"}, r"annotations\[0\]: 'image_id' is the text '10'; .*, without quotes$"),
        ("annotations", {"image_id": 10.5}, r"annotations\[0\]: 'image_id' is 10.5; expected a whole number$"),
        ("annotations", {"image_id": "x.png"}, r"annotations\[0\]: 'image_id' is the text 'x.png'; .* whole number$"),
        ("annotations", {"category_id": None}, r"annotations\[0\]: 'category_id' is null; expected a whole number$"),
        ("annotations", {"category_id": True}, r"annotations\[0\]: 'category_id' is true; expected a whole number$"),
        (
            "annotations",
            {"category_id": 0},
            r"annotations\[0\]: category_id 0 is not one of the file's categories, 2, 9$",
        ),
        ("annotations", {"iscrowd": "0"}, r"annotations\[0\]: 'iscrowd' is the text '0'; expected the number 0 or 1$"),
        ("annotations", {"area": "12"}, r"annotations\[0\]: 'area' is the text '12'; expected a number"),
        ("annotations", {"bbox": "1 2 3 4"}, r"annotations\[0\]: 'bbox' is the text '1 2 3 4'; expected \[x"),
        ("images", {"id": "10"}, r"images\[0\] \('x.png'\): 'id' is the text '10'; .*, without quotes$"),
        ("images", {"id": 10.5}, r"images\[0\] \('x.png'\): 'id' is 10.5; expected a whole number$"),
        ("images", {"width": "30"}, r"images\[0\] .*whole numbers from 1 to 2147483647; 'width' is the text '30'$"),
        ("images", {"height": 20.5}, r"images\[0\] .*whole numbers from 1 to 2147483647; 'height' is 20.5$"),
        ("annotations", {"image_id": 1e300}, r"'image_id' is 1e\+300; expected a whole number of at most 63 bits$"),
        ("images", {"width": 3e9}, r"images\[0\] .*from 1 to 2147483647; 'width' is 3000000000.0$"),
        ("images", {"height": 0}, r"images\[0\] .*whole numbers from 1 to 2147483647; 'height' is 0$"),
        ("images", {"file_name": 7}, r"images\[0\]: 'file_name' is 7; expected text"),
        ("categories", {"id": "9"}, r"categories\[0\] \('cell'\): 'id' is the text '9'; .*, without quotes$"),
        ("categories", {"name": 9}, r"categories\[0\]: 'name' is 9; expected text"),
        ("categories", {"name": " "}, r"categories\[0\]: 'name' is empty"),
        ("categories", {"name": "dust "}, r"'dust ' \(id 9\) and 'dust' \(id 2\) differ only in spaces"),
    ],
)
def test_invalid_values(coco_files, key, change, message):
    write, content = coco_files
    with pytest.raises(SegkitError, match=message):
        Coco(**write(**first_with(content, key, **change)))


def test_ids_that_are_missing(coco_files):
    write, content = coco_files
    for key, item, message in (
        ("annotations", "image_id", r"annotations\[0\]: has no 'image_id', a whole number"),
        ("annotations", "category_id", r"annotations\[0\]: has no 'category_id'"),
        ("categories", "id", r"categories\[0\] \('cell'\): has no 'id'"),
        ("categories", "name", r"categories\[0\]: has no 'name'"),
        ("images", "width", r"images\[0\] .*; there is no 'width'"),
    ):
        items = copy.deepcopy(content[key])
        del items[0][item]
        with pytest.raises(SegkitError, match=message):
            Coco(**write(**{key: items}))
    with pytest.raises(SegkitError, match="category_id 9 is unknown: the file has no categories"):
        Coco(**write(categories=[]))


CELLS = [{"id": 9, "name": "cell"}, {"id": 2, "name": "dust"}]


@pytest.mark.parametrize(
    ("categories", "ids"),
    [
        ([{"id": 0, "name": "cell", "supercategory": "none"}, *CELLS], {"cell": 9, "dust": 2}),
        ([*CELLS, {"id": 0, "name": "cell"}], {"cell": 9, "dust": 2}),
        ([{"id": 0, "name": "dust"}, *CELLS, {"id": 11, "name": "dust"}], {"cell": 9, "dust": 2}),
        ([{"id": 5, "name": "x"}, {"id": 6, "name": "x"}, *CELLS], {"cell": 9, "dust": 2, "x": 6}),
        ([*CELLS, {"id": 12, "name": "cell"}, {"id": 1, "name": "a"}], {"cell": 9, "dust": 2, "a": 1}),
    ],
)
def test_a_repeated_category_name_without_annotations_is_ignored_with_a_note(coco_files, categories, ids):
    write, _ = coco_files
    dataset, plain = Coco(**write(categories=categories)), Coco(**write())
    assert dict(zip(dataset.classes, dataset.category_ids, strict=True)) == ids
    names = [[dataset.classes[label] for label in dataset.load(i).targets.labels.tolist()] for i in range(3)]
    assert names == [[plain.classes[label] for label in plain.load(i).targets.labels.tolist()] for i in range(3)]
    dropped = len(categories) - len(ids)
    assert dataset.summary().count("and no annotations: it is ignored") == dropped


def test_a_repeated_name_of_which_both_have_annotations(coco_files):
    write, _ = coco_files
    message = (
        r"categories\[0\] \(id 9, 4 annotations\) and categories\[1\] \(id 2, 2 annotations\) have the same name 'cell'"
    )
    with pytest.raises(SegkitError, match=message):
        Coco(**write(categories=[{"id": 9, "name": "cell"}, {"id": 2, "name": "cell"}]))


def test_names_that_differ_in_case_are_two_classes_with_a_note(coco_files):
    dataset = Coco(**coco_files[0](categories=[{"id": 9, "name": "a"}, {"id": 2, "name": "A"}]))
    assert dataset.classes == ["A", "a"]
    assert "the classes 'a' and 'A' differ only in upper and lower case" in dataset.summary()


def test_classes_without_objects_are_in_the_summary(coco_files):
    assert (
        "classes without any object: x" in Coco(**coco_files[0](categories=[*CELLS, {"id": 3, "name": "x"}])).summary()
    )


def test_errors_of_masks_name_the_object(coco_files):
    write, content = coco_files
    items = copy.deepcopy(content["annotations"])  # an RLE, polygons, an RLE
    items[1]["segmentation"] = [[0, 0, 1e9, 0, 5, 5]]
    with pytest.raises(SegkitError, match=r"image 'x.png': objects\[1\], polygon 0: "):
        Coco(**write(annotations=items)).load(0)


def test_images_that_are_listed_twice_are_in_the_summary(coco_files):
    write, content = coco_files
    again = [*content["images"], {**content["images"][0], "id": 77}]
    assert "1 images have the file name of another one" in Coco(**write(images=again)).summary()
