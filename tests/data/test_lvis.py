"""The LVIS reader: compared with a plain reading of the JSON."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_api

from segkit.data import PartialAnnotation, build_dataset
from segkit.data.formats import recognize
from segkit.dataset_tools.check import check_dataset
from segkit.utils.errors import SegkitError

H, W = 40, 50
NAMES = {3: ("aerosol_can", "c"), 7: ("zebra", "f"), 8: ("yacht", "r"), 20: ("bulldozer", "c"), 21: ("acorn", None)}


def polygon(rng):
    x0, y0 = rng.uniform(0, W - 12), rng.uniform(0, H - 12)
    x1, y1 = x0 + rng.uniform(5, 12), y0 + rng.uniform(5, 12)
    return [round(float(v), 2) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]


def content(seed=0, images=5):
    rng = np.random.default_rng(seed)
    entries, annotations = [], []
    for i in range(images):
        image_id = 1000 - 3 * i
        present = rng.choice(list(NAMES), rng.integers(0, 4), replace=False).tolist()
        absent = [k for k in NAMES if k not in present]
        url = f"http://images.cocodataset.org/{'train2017' if i % 2 else 'val2017'}/{image_id:012d}.jpg"
        entries.append({
            "id": image_id, "coco_url": url, "height": H, "width": W, "license": 1, "flickr_url": "x",
            "neg_category_ids": rng.choice(absent, min(len(absent), 1 + i % 2), replace=False).tolist(),
            "not_exhaustive_category_ids": present[:1] if i % 2 else [],
        })  # fmt: skip
        for category in present * 2:
            points = polygon(rng)
            x, y = points[0::2], points[1::2]
            bbox = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
            item = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category}
            annotations.append({**item, "bbox": bbox, "area": bbox[2] * bbox[3], "segmentation": [points]})
    categories = [
        {"id": k, "name": name, "synset": f"{name}.n.01", "image_count": 3, **({"frequency": f} if f else {})}
        for k, (name, f) in NAMES.items()
    ]
    return {"info": {}, "annotations": annotations, "images": entries, "licenses": [], "categories": categories}


def write(folder, found, name="lvis_v1_train.json"):
    for image in found["images"]:
        if isinstance(image.get("coco_url"), str):
            file = folder / "/".join(image["coco_url"].split("/")[-2:])
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (W, H)).save(file)
    (folder / name).write_text(json.dumps(found))
    return {"format": "lvis", "json": str(folder / name), "images": str(folder)}


def test_it_equals_a_plain_reading_of_the_file(tmp_path):
    found = content()
    data = build_dataset(write(tmp_path, found))
    ids = sorted(NAMES)
    assert data.category_ids == ids and data.classes == [NAMES[k][0] for k in ids]
    assert data.frequencies == [NAMES[k][1] for k in ids]
    assert data.image_ids == [image["id"] for image in found["images"]]
    for index, image in enumerate(found["images"]):
        sample = data.load(index)
        assert sample.file_name == "/".join(image["coco_url"].split("/")[-2:])
        own = [a for a in found["annotations"] if a["image_id"] == image["id"]]
        assert sample.targets.labels.tolist() == [ids.index(a["category_id"]) for a in own]
        assert not sample.targets.crowd.any()
        for mask, annotation in zip(sample.targets.masks.to_dense(), own, strict=True):
            rle = mask_api.merge(mask_api.frPyObjects(annotation["segmentation"], H, W))
            assert np.array_equal(mask.numpy(), mask_api.decode(rle).astype(bool))
        known = {a["category_id"] for a in own} | set(image["neg_category_ids"])
        known -= set(image["not_exhaustive_category_ids"])
        expected = [label for label, k in enumerate(ids) if k not in known]
        assert sample.targets.unlabelled.tolist() == expected == data.targets(index).unlabelled.tolist()
        truth = data.ground_truth(index, sample)
        assert [item["bbox"] for item in truth] == [a["bbox"] for a in own]
    assert any(len(data.targets(i).unlabelled) not in (0, len(ids)) for i in range(len(data)))
    assert "1 rare, 2 common, 1 frequent" in "\n".join(data.notes())


def test_classes_of_the_model_and_partial_annotation(tmp_path):
    spec = write(tmp_path, content())
    names = ["zebra", "unicorn", "acorn", "aerosol_can", "yacht", "bulldozer"]
    data, plain = build_dataset(spec, names), build_dataset(spec)
    for index in range(len(data)):
        unlabelled = [plain.classes[label] for label in plain.targets(index).unlabelled.tolist()]
        assert data.targets(index).unlabelled.tolist() == sorted(names.index(n) for n in [*unlabelled, "unicorn"])
    assert data.frequencies == ["f", None, None, "c", "r", "c"]
    assert data.subset([0]).frequencies == data.frequencies
    partial = build_dataset(spec, partial=PartialAnnotation(("yacht",), None, ("zebra",)))
    by_name = dict(zip(plain.classes, plain.frequencies, strict=True))
    assert partial.frequencies == [by_name[name] for name in partial.classes] and "yacht" not in partial.classes
    for index in range(len(data)):
        labels = {plain.classes[label] for label in plain.targets(index).unlabelled.tolist()} - {"yacht"} | {"zebra"}
        assert {partial.classes[label] for label in partial.targets(index).unlabelled.tolist()} == labels


def test_auto_recognises_it(tmp_path):
    write(tmp_path, content(0), "lvis_v1_train.json")
    write(tmp_path, content(1), "lvis_v1_val.json")
    (tmp_path / "other.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    found = recognize(tmp_path)
    assert found.spec["format"] == "lvis" and found.spec["json"].endswith("lvis_v1_train.json")
    assert set(found.splits) == {"train", "val"}
    assert len(build_dataset({"format": "auto", "path": str(tmp_path), "split": "val"})) == 5
    assert recognize(tmp_path / "lvis_v1_val.json").spec["images"] == str(tmp_path)


@pytest.mark.parametrize("names", ["urls", "file names", "unknown"])
def test_the_images_may_lie_in_a_folder_beside_the_file(tmp_path, names):
    found = content()
    write(tmp_path / "images", found)
    (tmp_path / "images/lvis_v1_train.json").unlink()
    for image in found["images"]:
        url = image.pop("coco_url") if names != "urls" else ""
        if names == "file names":
            image["file_name"] = "/".join(url.split("/")[-2:])
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/lvis_v1_train.json").write_text(json.dumps(found))
    recognized = recognize(tmp_path)
    assert (recognized.spec["format"], recognized.spec["images"]) == ("lvis", str(tmp_path / "images"))
    assert recognize(tmp_path / "annotations/lvis_v1_train.json").spec == recognized.spec


def test_a_file_whose_beginning_and_end_show_its_categories_alone(tmp_path, monkeypatch):
    """In LVIS's own files the list of images is in the middle, between a gigabyte of annotations and the categories."""
    from segkit.data.formats.coco import recognition

    found = content()
    found["annotations"] *= 20
    keys = ("info", "annotations", "images", "licenses", "categories")
    write(tmp_path, {key: found[key] for key in keys})
    monkeypatch.setattr(recognition, "PEEKED_BYTES", 500)
    assert recognize(tmp_path).spec == {
        "format": "lvis", "json": str(tmp_path / "lvis_v1_train.json"), "images": str(tmp_path)
    }  # fmt: skip


def test_a_check_lists_all_faults(tmp_path):
    found = content()
    file = Path(write(tmp_path / "data", found)["json"])
    clean = check_dataset(file, workers=0)
    assert clean.format == "lvis" and clean.ok and clean.splits["all"].images == 5
    found["images"][0].pop("neg_category_ids")
    found["images"][1]["not_exhaustive_category_ids"] = 7
    found["images"][2]["neg_category_ids"] = [3, 99, 98]
    found["images"][3]["height"] = 0
    found["categories"][0]["frequency"] = "x"
    found["annotations"][0]["category_id"] = 5
    file.write_text(json.dumps(found))
    report = check_dataset(file.parent, workers=0, fix=tmp_path / "mended")
    faults = {kind: [fault.place.rpartition(": ")[2] for fault in report.of_kind(kind)] for kind in report.counts()}
    assert faults["invalid_class_list"] == ["images[0]", "images[1]", "images[2]", "images[2]"]
    assert faults["invalid_image_entry"] == ["images[3]"] and faults["invalid_category"] == ["categories[0]"]
    assert faults["unknown_category"] == ["annotations[0]"]
    assert report.of_kind("invalid_class_list")[0].image == "val2017/000000001000.jpg"
    assert report.fix.format == "coco" and report.splits["train"].images == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["images"][1].pop("neg_category_ids"),
            r"images\[1\]: there is no 'neg_category_ids'.*format: coco",
        ),
        (lambda c: c["images"][2].update(neg_category_ids=[3, "7"]), r"images\[2\]: 'neg_category_ids' is \[3, '7'\]"),
        (lambda c: c["images"][2].update(not_exhaustive_category_ids=7), r"'not_exhaustive_category_ids' is 7"),
        (lambda c: c["images"][3].update(neg_category_ids=[3, 99]), r"images\[3\]: .*has 99, which is the id of no"),
        (lambda c: c["categories"][0].update(frequency="x"), r"categories\[0\]: 'frequency' is the text 'x'"),
        (lambda c: c["images"][0].pop("coco_url"), r"images\[0\]: has no 'file_name'"),
        (lambda c: c["images"][0].update(coco_url="http://x/../a.jpg"), r"leads out of the folder"),
        (lambda c: c["images"].__setitem__(0, 3), r"images\[0\] is 3"),
    ],
)
def test_faults(tmp_path, change, said):
    found = content()
    spec = write(tmp_path, found)
    change(found)
    (tmp_path / "lvis_v1_train.json").write_text(json.dumps(found))
    with pytest.raises(SegkitError, match=said):
        build_dataset(spec)


def test_a_file_of_both_formats_is_read_as_either(tmp_path, monkeypatch):
    """The cache of one is not taken for the other's."""
    from segkit.data import array_cache

    monkeypatch.setattr(array_cache, "MIN_CACHED_BYTES", 0)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    found = content()
    for image in found["images"]:
        image["file_name"] = "/".join(image["coco_url"].split("/")[-2:])
    spec = write(tmp_path, found)
    lvis = [build_dataset(spec).targets(0) for _ in range(2)]
    coco = build_dataset({**spec, "format": "coco"}).targets(0)
    again = build_dataset(spec).targets(0)
    assert len(coco.unlabelled) == 0 and len(again.unlabelled) == len(lvis[1].unlabelled) > 0
    assert torch.equal(coco.boxes, again.boxes)
