"""The table: measures equal to scikit-image's, columns that are the same in all rows, text that is safe."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import tifffile
import torch
from masked_images import boxes_alone, detections, disks, image_of, written
from skimage.measure import regionprops

from segkit.results import LabelMapResultWriter, PartFiles, TableResultWriter, intensities
from segkit.structures import Detections
from segkit.utils.errors import MissingPackage, SegkitError
from segkit.utils.images import ImageReader, LazyImage, image_file, read_pixels

PIXEL = (0.25, 0.25)


def rows_of(paths) -> list[dict[str, str]]:
    with open(paths[0], encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def check_row(row, mask, samples, pixel=PIXEL):
    """A row is what regionprops measures in pixels and, with its spacing, in micrometres."""
    plain = regionprops(mask.astype(np.uint8), samples)[0]
    scaled = regionprops(mask.astype(np.uint8), spacing=pixel[::-1])[0]
    top, left, bottom, right = plain.bbox
    assert [float(row[f"bbox_{k}"]) for k in ("x0", "y0", "x1", "y1")] == [left, top, right, bottom]
    expected = {
        "area_px": plain.area, "perimeter_px": plain.perimeter, "solidity": plain.solidity,
        "major_axis_px": plain.axis_major_length, "centroid_x_px": plain.centroid[1], "centroid_y_px": plain.centroid[0],
        "area_um2": scaled.area, "major_axis_um": scaled.axis_major_length, "eccentricity": scaled.eccentricity,
        "centroid_x_um": scaled.centroid[1], "centroid_y_um": scaled.centroid[0],
    }  # fmt: skip
    if pixel[0] == pixel[1]:
        expected["perimeter_um"] = scaled.perimeter
        if plain.perimeter:
            expected["circularity"] = 4 * math.pi * plain.area / plain.perimeter**2
    for channel in range(samples.shape[2]):
        inside = samples[mask][:, channel]
        expected |= {f"mean_{channel}": np.mean(inside, dtype=np.float64), f"min_{channel}": inside.min()}
        expected |= {f"max_{channel}": inside.max(), f"sum_{channel}": np.sum(inside, dtype=np.float64)}
        assert plain.intensity_mean[channel] == pytest.approx(float(row[f"mean_{channel}"]), rel=1e-6)
    for name, value in expected.items():
        assert float(row[name]) == pytest.approx(float(value), rel=1e-9, abs=1e-7), name
    for name, value in (("minor_axis_px", plain.axis_minor_length), ("minor_axis_um", scaled.axis_minor_length)):
        assert float(row[name]) == pytest.approx(value, rel=1e-9, abs=2e-6), name


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_rows_are_what_regionprops_measures(tmp_path, dtype, channels):
    size = (60, 70)
    dense = disks(10, size, seed=channels)
    samples = (np.random.default_rng(0).normal(1000, 300, (*size, channels)) % 60_000 % np.iinfo(np.int16).max).astype(
        dtype
    )
    image = image_of(detections(dense), array=samples)
    rows = rows_of(written(TableResultWriter, tmp_path, [image], pixel_size=0.25))
    assert [row["id"] for row in rows] == [str(i + 1) for i in range(10)]
    for row, mask in zip(rows, dense, strict=True):
        check_row(row, mask, samples)
        assert row["on_border"] == str(int(mask[[0, -1]].any() or mask[:, [0, -1]].any()))


def test_ids_are_those_of_the_label_map(tmp_path):
    first, second = disks(2, (60, 70), seed=4)
    image = image_of(detections(np.stack([first, second & ~first])), series="film", track_ids=torch.tensor([8, 3]))
    label_map = read_pixels(written(LabelMapResultWriter, tmp_path, [image])[0] / "a.tif")
    areas = {str(region.label): float(region.area) for region in regionprops(label_map)}
    assert {row["id"]: float(row["area_px"]) for row in rows_of(written(TableResultWriter, tmp_path, [image]))} == areas


def test_pixels_that_are_not_square(tmp_path):
    dense, samples = disks(6, (40, 50)), np.zeros((40, 50, 1), np.uint8)
    rows = rows_of(written(TableResultWriter, tmp_path, [image_of(detections(dense))], pixel_size=[0.5, 0.25]))
    for row, mask in zip(rows, dense, strict=True):
        check_row(row, mask, samples, (0.5, 0.25))
        assert row["perimeter_um"] == row["circularity"] == ""


def test_columns_are_the_same_for_all_images(tmp_path):
    size = (20, 20)
    images = [
        image_of(detections(disks(3, size)), "grey.tif"),
        image_of(boxes_alone(size), "boxes.tif"),
        image_of(detections(disks(2, size)), "rgb.tif", np.full((*size, 3), 7, np.uint8)),
    ]
    paths = written(TableResultWriter, tmp_path, images)
    lines = paths[0].read_text(encoding="utf-8").splitlines()
    assert len({len(cells) for cells in csv.reader(lines)}) == 1
    rows = rows_of(paths)
    assert rows[0]["mean_1"] == "" and rows[-1]["mean_1"] == "7.0" and rows[0]["area_um2"] == ""
    box = rows[3]
    assert (box["bbox_x0"], box["area_px"], box["centroid_x_px"]) == ("1.5", "21.875", "2.75")
    assert box["perimeter_px"] == box["mean_0"] == box["neighbours"] == ""


def test_no_object_is_a_header(tmp_path):
    empty = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), None, (4, 5))
    assert (
        rows_of(written(TableResultWriter, tmp_path, [image_of(empty), image_of(detections(disks(0, (4, 5))))])) == []
    )
    header = (tmp_path / "table.csv").read_text().strip().split(",")
    assert header[:5] == ["image", "stem", "series", "frame", "id"] and header[-1] == "sum_0"


def test_an_empty_mask_has_a_row(tmp_path):
    dense = disks(2, (9, 9))
    dense[0] = False
    row = rows_of(written(TableResultWriter, tmp_path, [image_of(detections(dense))]))[0]
    assert (
        row["area_px"] == "0" and row["bbox_x0"] == row["perimeter_px"] == row["mean_0"] == row["centroid_x_px"] == ""
    )


def test_neighbours_and_their_ids(tmp_path):
    dense = np.zeros((4, 3, 9), np.bool_)
    dense[0, 0, 0] = dense[1, 1, 1] = dense[2, 1, 0:2] = dense[3, 2, 8] = True
    image = image_of(detections(dense), series="film", frame=0, track_ids=torch.tensor([9, 4, 6, 2]))
    rows = rows_of(written(TableResultWriter, tmp_path, [image], neighbour_ids=True))
    assert [row["neighbours"] for row in rows] == ["2", "2", "2", "0"]
    assert [row["neighbour_ids"] for row in rows] == ["4 6", "6 9", "4 9", ""]
    assert [rows[0][key] for key in ("series", "frame", "id", "track")] == ["film", "0", "9", "9"]


def test_text_is_no_formula_and_stays_on_its_line(tmp_path):
    image = image_of(detections(disks(1, (9, 9)), [1]), name='=HYPERLINK("x"),\n\udcff\xa0µ.tif')
    row = rows_of(written(TableResultWriter, tmp_path, [image]))[0]
    assert row["image"] == '\'=HYPERLINK("x"),\\n\\udcff\xa0µ.tif' and row["class"] == "'=cmd()"


def test_a_large_file_is_read_by_window_and_each_window_once(tmp_path, monkeypatch):
    size = (90, 120)
    samples = np.random.default_rng(0).integers(0, 60_000, (*size, 2)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", samples.transpose(2, 0, 1), tile=(16, 16), photometric="minisblack",
                     ome=True, metadata={"axes": "CYX"}, compression="zlib")  # fmt: skip
    dense = disks(15, size, radius=25)
    dense[3] = True
    monkeypatch.setattr(image_file, "LAZY_PIXELS", 1000)
    monkeypatch.setattr(intensities, "WINDOW", 32)
    monkeypatch.setattr(intensities, "SAMPLES_AT_ONCE", 400)
    lazy = LazyImage(ImageReader(), tmp_path / "x.tif", size, 2)
    image = image_of(detections(dense), file=tmp_path / "x.tif", array=None)
    image.image = lazy
    read, windows = type(image).samples, []
    monkeypatch.setattr(type(image), "samples", lambda self, window: windows.append(window) or read(self, window))
    rows = rows_of(written(TableResultWriter, tmp_path, [image], pixel_size=0.25))
    assert len(set(windows)) == len(windows) == 12
    for row, mask in zip(rows, dense, strict=True):
        check_row(row, mask, samples)


def test_samples_that_do_not_exist_are_an_error_unless_they_are_not_measured(tmp_path):
    image = image_of(detections(disks(2, (9, 9))), array=None)
    image.array = None
    with pytest.raises(SegkitError, match="neither a file nor an array; set intensities to false"):
        written(TableResultWriter, tmp_path, [image])
    rows = rows_of(written(TableResultWriter, tmp_path / "b", [image], intensities=False))
    assert len(rows) == 2 and "mean_0" not in rows[0]


def test_parts_of_two_processes_are_one_table(tmp_path):
    images = [image_of(detections(disks(3, (20, 20), seed)), f"{seed}.tif") for seed in range(3)]
    whole = written(TableResultWriter, tmp_path, images)[0].read_text()
    for folder, own in (("one", images[:1]), ("two", images[1:])):
        parts = PartFiles(tmp_path / folder)
        written(TableResultWriter, tmp_path, own, parts)
        parts.close()
    both = PartFiles(tmp_path / "three", [tmp_path / "one", tmp_path / "two"])
    assert written(TableResultWriter, tmp_path, [], both)[0].read_text() == whole


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [image_of(detections(disks(3, (20, 20), seed), [0, 1, 0]), f"{seed}.tif") for seed in range(2)]
    rows = rows_of(written(TableResultWriter, tmp_path, images, pixel_size=0.5))
    table = parquet.read_table(written(TableResultWriter, tmp_path / "p", images, format="parquet", pixel_size=0.5)[0])
    assert table.column_names == list(rows[0]) and table.num_rows == 6
    assert table["class"].to_pylist()[:2] == ["cell", "=cmd()"]
    assert str(table.schema.field("id").type) == "int64" and table["series"].null_count == 6
    assert table["major_axis_um"].to_pylist() == [float(row["major_axis_um"]) for row in rows]


def test_wrong_options(tmp_path, monkeypatch):
    with pytest.raises(SegkitError, match="format is 'xlsx'; expected csv or parquet"):
        written(TableResultWriter, tmp_path, [], format="xlsx")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingPackage, match=r"pip install 'segkit\[parquet\]'"):
        written(TableResultWriter, tmp_path, [], format="parquet")
