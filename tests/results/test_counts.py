"""Counts, densities and covered shares, compared with dense masks."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from masked_images import CLASSES, boxes_alone, detections, disks, image_of, written

from segkit.results import CountsResultWriter, PartFiles
from segkit.structures import Detections
from segkit.utils.images import PixelSize

SIZE = (40, 50)


def read(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def number(text: str) -> float | None:
    return float(text) if text else None


@pytest.mark.parametrize("pixel_size", [None, [0.5, 2.0]])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_rows_of_images_and_totals(tmp_path, pixel_size, count):
    labels = [[i % 2 for i in range(count)], [1] * count]
    masks = [disks(count, SIZE, seed) for seed in range(2)]
    images = [image_of(detections(m, k), f"{i}.tif") for i, (m, k) in enumerate(zip(masks, labels, strict=True))]
    paths = written(CountsResultWriter, tmp_path, images, pixel_size=pixel_size)
    rows = read(paths[0])
    assert [(row["image"], row["class"]) for row in rows] == [
        (image, name) for image in ("0.tif", "1.tif") for name in (CLASSES[0], "'=cmd()", "(all)")
    ]
    for k, row in enumerate(rows):
        own = masks[k // 3][[k % 3 in (2, label) for label in labels[k // 3]]] if count else masks[k // 3]
        check(row, [own], pixel_size)
    for k, row in enumerate(read(paths[1])):
        own = [m[[k in (2, label) for label in own]] if count else m for m, own in zip(masks, labels, strict=True)]
        check(row, own, pixel_size)
        assert (row["images"], row["images_with"]) == ("2", str(sum(len(one) > 0 for one in own)))


def check(row, masks, pixel_size):
    objects, pixels = sum(map(len, masks)), sum(int(one.sum()) for one in masks)
    covered, area = sum(int(one.any(0).sum()) for one in masks), len(masks) * SIZE[0] * SIZE[1]
    expected = {
        "objects": objects,
        "density_per_megapixel": 1e6 * objects / area,
        "mean_area_px": pixels / objects if objects else None,
        "covered_share": covered / area,
        "image_area_px": area,
        "image_area_mm2": area / 1e6 if pixel_size else None,  # a pixel has 1 µm²
        "density_per_mm2": 1e6 * objects / area if pixel_size else None,
        "mean_area_um2": pixels / objects if pixel_size and objects else None,
    }
    for name, value in expected.items():
        assert number(row[name]) == (None if value is None else pytest.approx(value, rel=1e-12)), name


def test_a_total_needs_the_pixel_size_of_every_image(tmp_path):
    images = [image_of(detections(disks(2, SIZE)), f"{i}.tif") for i in range(2)]
    images[1].pixel_size = PixelSize(1, 1)
    first, total = (read(path) for path in written(CountsResultWriter, tmp_path, images))
    assert first[2]["density_per_mm2"] == "" and first[5]["density_per_mm2"] == "1000.0"
    assert total[2]["density_per_mm2"] == total[2]["image_area_mm2"] == "" and total[2]["objects"] == "4"


def test_boxes_alone_have_no_covered_share(tmp_path):
    empty = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), None, SIZE)
    rows = read(written(CountsResultWriter, tmp_path, [image_of(boxes_alone(SIZE)), image_of(empty, "b.tif")])[0])
    assert rows[2]["covered_share"] == "" and rows[2]["mean_area_px"] == str((21.875 + 12) / 2)
    assert rows[5]["covered_share"] == "0.0" and rows[5]["mean_area_px"] == ""


def test_overlapping_objects_are_covered_once(tmp_path):
    dense = np.zeros((2, *SIZE), np.bool_)
    dense[:, :10] = True
    rows = read(written(CountsResultWriter, tmp_path, [image_of(detections(dense, [0, 1]))])[0])
    assert [row["covered_share"] for row in rows] == ["0.25"] * 3


def test_rows_without_objects_may_be_skipped(tmp_path):
    image = image_of(detections(disks(2, SIZE), [1, 1]))
    rows = read(written(CountsResultWriter, tmp_path, [image], zeros=False)[0])
    assert [(row["class"], row["objects"]) for row in rows] == [("'=cmd()", "2"), ("(all)", "2")]


def test_frames_and_parts_of_processes(tmp_path):
    images = [image_of(detections(disks(2, SIZE)), f"{i}.tif", series="film", frame=i) for i in range(3)]
    whole = [path.read_text() for path in written(CountsResultWriter, tmp_path, images)]
    for folder, own in (("one", images[:2]), ("two", images[2:])):
        parts = PartFiles(tmp_path / folder)
        written(CountsResultWriter, tmp_path, own, parts)
        parts.close()
    both = PartFiles(tmp_path / "three", [tmp_path / "one", tmp_path / "two"])
    assert [path.read_text() for path in written(CountsResultWriter, tmp_path, [], both)] == whole
    assert [(row["series"], row["frame"]) for row in read(tmp_path / "counts.csv")[::3]] == [
        ("film", str(i)) for i in range(3)
    ]
    assert json.loads(next(iter(both.lines("counts_images"))))["image"] == "0.tif"
