"""Faults of image files, label maps, and formats whose annotations are parsed, planted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from planted import HEIGHT, WIDTH

from segkit.data.formats import Dataset, ImageAnnotation, ObjectAnnotation, ParsedDataset, register_dataset
from segkit.data.formats.objects import LostObjects
from segkit.dataset_tools.check import KINDS, check_dataset
from segkit.dataset_tools.check.image_header import read_header
from segkit.structures import InstanceMasks, Targets

PLANTED = {
    "unreadable_image", "wrong_size", "duplicate_image", "image_in_two_splits", "orientation_tag", "mixed_channels",
    "mixed_bits", "not_decoded", "unreadable_annotations", "overlap", "merged_objects", "cut_by_border",
    "cleared_border", "lost_objects", "mistaken_objects", "class_imbalance", "over_detection_limit",
    "missing_package",  # test_broken_files.py
    "invalid_class_list",  # tests/data/test_lvis.py
}  # fmt: skip


def counts_of(report):
    return dict(report.counts())


def test_every_kind_is_planted_by_a_test():
    from test_coco_faults import PLANTED as OTHERS

    assert set(KINDS) == PLANTED | OTHERS


def test_damaged_image(world):
    (world.root / "images/train2.png").write_bytes(b"no image")
    report = world.check()
    assert counts_of(report) == {"unreadable_image": 1}
    assert report.faults[0].image == "train2.png" and report.faults[0].place.endswith("images/train2.png")


def test_damage_behind_the_header_needs_pixels(world):
    path = world.root / "images/train2.png"
    path.write_bytes(path.read_bytes()[:2000])
    assert counts_of(world.check()) == {"unreadable_image": 1}
    assert counts_of(world.check(pixels=False)) == {}


@pytest.mark.parametrize(("size", "text"), [((WIDTH, HEIGHT), "exchanged"), ((40, 64), "64 x 40")])
def test_size_of_the_file_and_of_the_annotations(world, size, text):
    world.draw("train2.png", *size)
    for pixels in (True, False):
        report = world.check(pixels=pixels)
        assert counts_of(report) == {"wrong_size": 1} and text in report.faults[0].message


def test_equal_images(world):
    """The same pixels in another file format, in one split and in two."""
    with Image.open(world.root / "images/train1.png") as image:
        image.save(world.root / "images/train3.png", compress_level=1)
        image.save(world.root / "images/val0.png")
    report = world.check(workers=2)
    assert counts_of(report) == {"image_in_two_splits": 2}
    assert {fault.image for fault in report.faults} == {"train1.png", "train3.png"}
    assert {fault.message for fault in report.faults} == {"the same pixels as val0.png in val"}
    assert not world.check(pixels=False).faults


def test_an_image_twice_in_a_split(world):
    with Image.open(world.root / "images/train1.png") as image:
        image.save(world.root / "images/train3.png", compress_level=1)
    report = world.check()
    assert counts_of(report) == {"duplicate_image": 1}
    assert report.faults[0].image == "train3.png" and report.faults[0].message == "the same pixels as train1.png"


def test_a_file_that_is_listed_twice_is_found_without_pixels(world):
    world.images[3]["file_name"] = "train1.png"
    for pixels in (True, False):
        report = world.check(pixels=pixels)
        assert counts_of(report) == {"duplicate_image": 1}
        assert report.faults[0].message == "the same file as the image with the id 2"


def test_orientation_tag(world):
    exif = Image.Exif()
    exif[0x0112] = 6
    world.draw("train2.png", WIDTH, HEIGHT, exif=exif)  # upright, it has the stated size
    report = world.check()
    assert counts_of(report) == {"orientation_tag": 1} and report.ok


def test_other_channels_and_bits(world):
    world.draw("train2.png", mode="L")
    assert counts_of(world.check(pixels=False)) == {"mixed_channels": 1}
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(world.root / "images/train2.png")
    report = world.check(pixels=False)
    assert counts_of(report) == {"mixed_channels": 1, "mixed_bits": 1}
    assert report.of_kind("mixed_bits")[0].image == "train2.png"


def test_images_that_are_too_large_to_decode(world, monkeypatch):
    monkeypatch.setattr("segkit.dataset_tools.check.images.MAX_DECODED", HEIGHT * WIDTH - 1)
    assert counts_of(world.check()) == {"not_decoded": 8}


# Label maps


@pytest.fixture
def label_maps(tmp_path):
    """Three images with a label map of two squares each."""
    for i in range(3):
        rng = np.random.default_rng(i)
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[10:20, 10:20], labels[10:20, 25 + i : 40] = 3, 7
        write(tmp_path / f"cells/{i}", rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8), labels)
    return tmp_path / "cells"


def write(folder, pixels, labels):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / "image.png")
    Image.fromarray(labels).save(folder / "class1.png")


def test_label_maps(label_maps):
    spec = {"format": "label_map", "root": str(label_maps)}
    assert counts_of(check_dataset(spec, workers=0)) == {}
    (label_maps / "1/mask.png").write_bytes(b"")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(label_maps / "2/class1.png")
    report = check_dataset(spec, workers=0)
    assert counts_of(report) == {"unreadable_annotations": 1, "wrong_size": 1}
    assert "mask.png" in report.faults[0].message and report.faults[1].image == "2/image.png"
    assert report.splits["all"].images == 2


def test_one_value_for_all_objects(label_maps):
    for folder in label_maps.iterdir():
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[5:15:2, 5:50] = 255
        Image.fromarray(labels).save(folder / "class1.png")
    report = check_dataset({"format": "label_map", "root": str(label_maps)}, workers=0)
    assert counts_of(report) == {"merged_objects": 3}


@pytest.mark.parametrize(("start", "kind"), [(0, "cut_by_border"), (3, "cleared_border")])
def test_objects_at_the_border(label_maps, start, kind):
    for folder in label_maps.iterdir():
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[start : HEIGHT - start, start : WIDTH - start] = np.arange(1, WIDTH - 2 * start + 1) // 6 + 1
        Image.fromarray(labels).save(folder / "class1.png")
    report = check_dataset({"format": "label_map", "root": str(label_maps)}, workers=0)
    assert counts_of(report)[kind] == 1 and set(report.counts()) <= {kind, "small_object"}


# Formats of the registry, as a program adds them


def parsed(root, objects, **options):
    image = root / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(image)
    annotation = ImageAnnotation(str(image), "a.png", (HEIGHT, WIDTH), objects, source="a.txt")
    return ParsedDataset([annotation], ["cell"], where="parsed", **options)


SQUARE = [[5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]]
PARSED = {
    "self_intersecting": [ObjectAnnotation("cell", None, [[5.0, 5.0, 15.0, 15.0, 15.0, 5.0, 5.0, 15.0]])],
    "duplicate_object": [ObjectAnnotation("cell", None, SQUARE), ObjectAnnotation("cell", None, SQUARE)],
    "hole": [ObjectAnnotation("cell", None, SQUARE, [[8.0, 8.0, 11.0, 8.0, 11.0, 11.0, 8.0, 11.0]])],
    "mask_unlike_box": [ObjectAnnotation("cell", (30.0, 5.0, 40.0, 15.0), SQUARE)],
    "outside_image": [ObjectAnnotation("cell", (100.0, 5.0, 140.0, 15.0)), ObjectAnnotation("cell", None, SQUARE)],
    "several_polygons": [ObjectAnnotation("cell", None, [*SQUARE, [30.0, 5.0, 40.0, 5.0, 40.0, 15.0]])],
    "lost_objects": [ObjectAnnotation("cell", None, SQUARE)],
    "mistaken_objects": [ObjectAnnotation("cell", None, SQUARE)],
}


@pytest.mark.parametrize("kind", PARSED)
def test_parsed_formats(tmp_path, kind):
    lost = {
        "lost_objects": [LostObjects("objects without a name", 3)],
        "mistaken_objects": [LostObjects("objects upside down", 2, mistake=True)],
    }.get(kind, [])
    register_dataset("parsed", lambda: parsed(tmp_path, PARSED[kind], lost=lost))
    report = check_dataset({"format": "catalog", "name": "parsed"}, workers=0)
    assert counts_of(report) == {kind: 1}
    if not lost:
        assert report.faults[0].place.startswith("a.txt") and report.faults[0].image == "a.png"


class Exclusive(Dataset):
    """Two squares of one class that share pixels, in a format that cannot hold that."""

    exclusive = True
    classes, category_ids, image_ids = ["cell"], [1], [1]

    def load(self, index):
        raise NotImplementedError

    def targets(self, index, window=None):
        dense = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.bool)
        dense[0, 5:15, 5:15], dense[1, 12:25, 12:25], dense[2, 25:30, 12:25] = True, True, True
        masks = InstanceMasks.from_dense(dense)
        return Targets(masks.boxes(), torch.zeros(3, dtype=torch.long), masks)

    def label_counts(self, index):
        return {0: 3}


def test_overlaps_in_an_exclusive_format():
    register_dataset("exclusive", Exclusive)
    report = check_dataset({"format": "catalog", "name": "exclusive"}, pixels=False, workers=0)
    assert counts_of(report) == {"overlap": 1}
    assert report.faults[0].object == 1 and "9 pixels" in report.faults[0].message


def test_made_images_are_clean():
    spec = {"format": "synthetic", "num_images": 20, "image_size": [96, 96], "min_objects": 2, "max_objects": 5}
    report = check_dataset(spec, workers=0)
    kinds = {fault.kind for fault in report.faults if fault.severity != "note"}
    assert report.ok and kinds <= {"object_in_parts"}, kinds  # an object that another one hides in the middle


@pytest.mark.parametrize("name", ["train2.png", "train2.jpg"])
def test_headers_are_read_without_pixels(world, monkeypatch, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = world.draw(name, exif=exif)

    def decode(self):
        raise AssertionError("the image is decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    assert read_header(path) == (3, 8, 6)
