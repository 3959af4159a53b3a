"""Cut-out objects: their samples, names and list."""

from __future__ import annotations

import csv
import logging

import numpy as np
import pytest
import tifffile
import torch
from masked_images import CLASSES, boxes_alone, detections, disks, image_of, written
from PIL import Image

from segkit.results import CropsResultWriter, PartFiles, crops
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader, LazyImage, image_file, read_pixels

SIZE = (40, 50)


def rows_of(folder) -> list[dict[str, str]]:
    with open(folder / "crops.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def random_samples(dtype, channels=1):
    shape = (*SIZE, channels) if channels > 1 else SIZE
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "channels", "suffix"),
    [(np.uint8, 1, "png"), (np.uint8, 3, "png"), (np.uint16, 1, "tif"), (np.uint16, 3, "tif"), (np.uint8, 5, "tif"),
     (np.float32, 2, "tif")],
)  # fmt: skip
@pytest.mark.parametrize("margin", [0, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_a_crop_has_the_samples_of_the_file(tmp_path, dtype, channels, suffix, margin, masked):
    samples, dense = random_samples(dtype, channels), disks(5, SIZE)
    image = image_of(detections(dense, [0, 1, 0, 1, 0]), array=samples)
    written(CropsResultWriter, tmp_path, [image], margin=margin, masked=masked)
    rows = rows_of(tmp_path)
    assert [row["id"] for row in rows] == list("12345")
    for row, mask in zip(rows, dense, strict=True):
        y, x = np.nonzero(mask)
        x0, y0 = max(x.min() - margin, 0), max(y.min() - margin, 0)
        x1, y1 = min(x.max() + 1 + margin, SIZE[1]), min(y.max() + 1 + margin, SIZE[0])
        assert [int(row[key]) for key in ("x0", "y0", "x1", "y1")] == [x0, y0, x1, y1]
        expected = np.where(mask if channels == 1 else mask[:, :, None], samples, 0) if masked else samples
        stored = read_pixels(tmp_path / row["file"])
        assert row["file"].endswith(f"_{int(row['id']):05d}.{suffix}") and stored.dtype == dtype
        if channels > 1 and stored.ndim == 2:
            stored = stored.reshape(expected[y0:y1, x0:x1].shape)
        np.testing.assert_array_equal(stored, expected[y0:y1, x0:x1])
    assert {path.name for path in (tmp_path / "crops").iterdir()} == {"cell", "=cmd()"}
    assert not list((tmp_path / "crops").rglob(".*"))


def test_small_and_uncertain_objects_are_skipped_and_counted(tmp_path, caplog):
    dense = disks(9, SIZE)
    image = image_of(detections(dense))
    chosen = [i for i in range(9) if dense[i].sum() >= 30 and image.detections.scores[i] >= 0.7]
    with caplog.at_level(logging.INFO):
        written(CropsResultWriter, tmp_path, [image], min_area=30, min_score=0.7)
    assert [int(row["id"]) - 1 for row in rows_of(tmp_path)] == chosen and 0 < len(chosen) < 9
    assert f"{9 - len(chosen)} objects below min_score or min_area, not written" in caplog.text


def test_boxes_without_masks_are_cut_out_to_whole_pixels(tmp_path):
    samples = random_samples(np.uint8)
    written(CropsResultWriter, tmp_path, [image_of(boxes_alone(SIZE), array=samples)])
    row = rows_of(tmp_path)[0]
    assert [row[key] for key in ("x0", "y0", "x1", "y1")] == ["1", "2", "5", "9"]
    np.testing.assert_array_equal(read_pixels(tmp_path / row["file"]), samples[2:9, 1:5])
    with pytest.raises(SegkitError, match="masked needs masks"):
        written(CropsResultWriter, tmp_path, [image_of(boxes_alone(SIZE))], masked=True)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "LA"])
def test_other_colours_become_rgb_or_grey(tmp_path, mode):
    picture = Image.fromarray(random_samples(np.uint8, 3)).convert(mode)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    picture.save(path)
    image = image_of(detections(disks(1, SIZE)), file=path, array=None)
    written(CropsResultWriter, tmp_path, [image])
    stored = read_pixels(tmp_path / rows_of(tmp_path)[0]["file"])
    assert stored.dtype == np.uint8 and (stored.ndim == 2 if mode == "LA" else stored.shape[2] == 3)
    if mode == "P":
        row = rows_of(tmp_path)[0]
        x0, y0, x1, y1 = (int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        np.testing.assert_array_equal(stored, np.asarray(picture.convert("RGB"))[y0:y1, x0:x1])


def test_a_large_file_is_read_in_parts(tmp_path, monkeypatch):
    samples = random_samples(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", samples, tile=(16, 16))
    monkeypatch.setattr(image_file, "LAZY_PIXELS", 100)
    monkeypatch.setattr(crops, "CELL", 20)
    dense = disks(12, SIZE)
    image = image_of(detections(dense), file=tmp_path / "x.tif", array=None)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    written(CropsResultWriter, whole, [image])
    image.image = LazyImage(ImageReader(), tmp_path / "x.tif", SIZE, 1)
    read, windows = type(image).stored, []
    monkeypatch.setattr(type(image), "stored", lambda self, window: windows.append(window) or read(self, window))
    written(CropsResultWriter, parts, [image])
    assert None not in windows and len(set(windows)) == len(windows) <= 6
    for row in rows_of(whole):
        np.testing.assert_array_equal(read_pixels(parts / row["file"]), read_pixels(whole / row["file"]))


def test_names_stay_in_the_folder(tmp_path):
    classes = ["../up", "a/b", "A:B", "CON"]
    writer = CropsResultWriter(tmp_path / "out", classes, [1, 2, 3, 4], PartFiles(tmp_path / "parts"))
    writer.add(image_of(detections(disks(4, SIZE), [0, 1, 2, 3])))
    writer.close()
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")]
    assert len(files) == 4 and all(path.parts[:2] == ("out", "crops") and len(path.parts) == 4 for path in files)
    assert len({path.parts[2].casefold() for path in files}) == 4 and not {"CON", "..", "../up"} & {
        p.parts[2] for p in files
    }


def test_files_of_an_earlier_prediction_are_counted(tmp_path, caplog):
    written(CropsResultWriter, tmp_path, [image_of(detections(disks(5, SIZE)))])
    assert "earlier" not in caplog.text
    (tmp_path / ".parts" / "crops_rows.part").unlink()
    written(CropsResultWriter, tmp_path, [image_of(detections(disks(3, SIZE)))], PartFiles(tmp_path / "new"))
    assert "holds 2 files of earlier predictions" in caplog.text and len(rows_of(tmp_path)) == 3


def test_a_full_disk_leaves_no_broken_file(tmp_path, monkeypatch):
    def fail(self, path, **options):
        path.write_bytes(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        written(CropsResultWriter, tmp_path, [image_of(detections(disks(1, SIZE)))])
    assert list((tmp_path / "crops" / "cell").iterdir()) == []


@pytest.mark.parametrize("options", [{"margin": -1}, {"margin": 2.5}, {"min_score": 2}, {"min_area": 0}])
def test_wrong_options_are_named(tmp_path, options):
    with pytest.raises(SegkitError, match=f"crops: {next(iter(options))} is .*expected"):
        written(CropsResultWriter, tmp_path, [], **options)


def test_frames_of_a_series_have_the_ids_of_their_tracks(tmp_path):
    image = image_of(detections(disks(2, SIZE)), series="film", frame=4, track_ids=torch.tensor([12, 3]))
    written(CropsResultWriter, tmp_path, [image])
    assert [(r["series"], r["frame"], r["id"], r["file"]) for r in rows_of(tmp_path)] == [
        ("film", "4", "12", f"crops/{CLASSES[0]}/a_00012.png"), ("film", "4", "3", f"crops/{CLASSES[0]}/a_00003.png")
    ]  # fmt: skip
