"""Label maps: which object has a pixel, the file's type and calibration, and what reads it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile
import torch
from masked_images import boxes_alone, detections, disks, image_of, written
from PIL import Image
from skimage import io

from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results import LabelMapResultWriter, PartFiles, label_map
from segkit.structures import Detections, InstanceMasks
from segkit.utils.errors import SegkitError
from segkit.utils.images import PixelSize, read_pixel_size, read_pixels


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "label_map", "pixel_size": [0.5, 0.25], "dtype": "uint32"},
        {"name": "table", "pixel_size": 1, "neighbour_ids": True},
        {"name": "counts", "zeros": False},
        {"name": "crops", "margin": 3, "masked": True, "min_score": 0.5},
    ],
    ids=lambda spec: spec["name"],
)
def test_writers_are_built_from_specs(tmp_path, spec):
    runtime = {"output": tmp_path, "classes": ["x"], "category_ids": [1], "parts": PartFiles(tmp_path / "parts")}
    writer = RESULT_WRITER_REGISTRY.build(spec, **runtime)
    writer.add(image_of(detections(disks(3, (20, 30)))))
    assert all(path.exists() for path in writer.close())
    with pytest.raises(SegkitError, match="pixel_sise"):
        RESULT_WRITER_REGISTRY.build(spec | {"pixel_sise": 1}, **runtime)


@pytest.mark.parametrize("size", [(40, 50), (1, 1), (700, 3)])
def test_a_pixel_belongs_to_the_highest_score(tmp_path, size):
    dense = disks(12, size)
    folder = written(LabelMapResultWriter, tmp_path, [image_of(detections(dense))])[0]
    expected = np.where(dense.any(0), dense.argmax(0) + 1, 0)
    path = folder / "a.tif"
    assert read_pixels(path).dtype == np.uint16
    for read in (read_pixels, tifffile.imread, io.imread, lambda p: np.asarray(Image.open(p))):
        np.testing.assert_array_equal(read(path), expected)
    assert [p.name for p in folder.iterdir()] == ["a.tif"]  # no temporary file


def test_scores_count_and_not_the_order_of_the_detections(tmp_path):
    found = detections(np.ones((2, 3, 4), np.bool_))
    found.scores = torch.tensor([0.2, 0.8])
    assert (read_pixels(written(LabelMapResultWriter, tmp_path, [image_of(found)])[0] / "a.tif") == 2).all()


@pytest.mark.parametrize("pixel_size", [None, 0.25, [0.25, 0.5]])
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_imagej_reads_the_pixel_size(tmp_path, pixel_size, dtype):
    image = image_of(detections(disks(3, (20, 30))))
    path = written(LabelMapResultWriter, tmp_path, [image], pixel_size=pixel_size, dtype=dtype)[0] / "a.tif"
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej and file.series[0].axes == "YX" and file.pages[0].dtype == dtype
        assert not file.pages[0].is_tiled  # ImageJ reads strips alone
        assert file.imagej_metadata.get("unit") == (None if pixel_size is None else "micron")
        assert file.imagej_metadata["max"] == 3
    width, height = pixel_size if isinstance(pixel_size, list) else (pixel_size, pixel_size)
    found = read_pixel_size(path)
    assert found is None if pixel_size is None else (found.width, found.height) == pytest.approx((width, height))


def test_the_pixel_size_is_that_of_the_file(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((20, 30), np.uint8), ome=True,
                     metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25})  # fmt: skip
    image = image_of(detections(disks(3, (20, 30))), file=tmp_path / "in.tif")
    assert image.pixel_size == PixelSize(0.5, 0.25)
    assert read_pixel_size(written(LabelMapResultWriter, tmp_path, [image])[0] / "a.tif") == PixelSize(0.5, 0.25)


def test_more_than_65535_objects_need_32_bits(tmp_path):
    side, count = 270, 70_000
    corners = torch.stack([torch.arange(count) % side, torch.arange(count) // side], 1)
    masks = InstanceMasks(torch.ones(count, dtype=torch.uint8), torch.cat([corners, corners + 1], 1), (side, side))
    found = Detections.from_masks(masks, torch.linspace(1, 0, count), torch.zeros(count, dtype=torch.long))
    stored = read_pixels(written(LabelMapResultWriter, tmp_path, [image_of(found)])[0] / "a.tif")
    assert stored.dtype == np.uint32
    np.testing.assert_array_equal(stored.reshape(-1)[:count], np.arange(1, count + 1))
    with pytest.raises(SegkitError, match=r"70000 .* uint16; set dtype to uint32 or auto"):
        written(LabelMapResultWriter, tmp_path, [image_of(found)], dtype="uint16")


def test_a_large_map_is_never_whole_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(label_map, "BAND_PIXELS", 1 << 19)
    side = 2400
    corners = torch.arange(0, side - 40, 60)
    boxes = torch.stack([corners, corners.flip(0), corners + 40, corners.flip(0) + 40], 1)
    masks = InstanceMasks(torch.ones(len(boxes) * 1600, dtype=torch.uint8), boxes, (side, side))
    found = Detections.from_masks(masks, torch.ones(len(boxes)), torch.zeros(len(boxes), dtype=torch.long))
    image = image_of(found, array=np.zeros((1, 1, 1), np.uint8))
    tracemalloc.start()
    path = written(LabelMapResultWriter, tmp_path, [image])[0] / "a.tif"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < side * side * 2 / 3
    assert (np.bincount(read_pixels(path).ravel())[1:] == 1600).all()


def test_a_full_disk_leaves_no_broken_file(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        arguments[0].write_bytes(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", fail)
    with pytest.raises(OSError, match="No space left"):
        written(LabelMapResultWriter, tmp_path, [image_of(detections(disks(3, (20, 30))))])
    assert list((tmp_path / "label_maps").iterdir()) == []


def test_values_are_tracks_in_a_series(tmp_path):
    dense = np.zeros((2, 4, 4), np.bool_)
    dense[0, :2], dense[1, 2:] = True, True
    image = image_of(detections(dense), series="film", frame=3, track_ids=torch.tensor([7, 70_000]))
    stored = read_pixels(written(LabelMapResultWriter, tmp_path, [image])[0] / "a.tif")
    assert np.unique(stored).tolist() == [7, 70_000] and stored.dtype == np.uint32


def test_no_object_is_an_empty_map_and_boxes_alone_are_an_error(tmp_path):
    empty = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), None, (4, 5))
    assert not read_pixels(written(LabelMapResultWriter, tmp_path, [image_of(empty)])[0] / "a.tif").any()
    with pytest.raises(SegkitError, match=r"b\.tif: label_map needs masks"):
        written(LabelMapResultWriter, tmp_path, [image_of(boxes_alone((10, 10)), "b.tif")])
    assert not (tmp_path / "label_maps" / "b.tif").exists()


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"pixel_size": 0}, {"pixel_size": [1, 2, 3]}, {"pixel_size": "x"}]
)
def test_wrong_options_are_named(tmp_path, options):
    with pytest.raises(SegkitError, match=f"{next(iter(options))} is .*expected"):
        written(LabelMapResultWriter, tmp_path, [], **options)
