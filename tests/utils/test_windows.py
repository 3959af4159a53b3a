"""A window of an image file is the whole read cropped, bit for bit, and decodes only what it touches."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_writers import page, write_tiff
from PIL import Image

from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageFile, ImageReader, LazyImage, image_file, intensity_sample, read_image
from segkit.utils.images.tiff_segments import PagePart

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 50, 70


def windows(count=6):
    x, y = np.sort(RNG.integers(0, WIDTH + 1, (count, 2)), 1), np.sort(RNG.integers(0, HEIGHT + 1, (count, 2)), 1)
    inside = [(a, c, b, d) for (a, b), (c, d) in zip(x.tolist(), y.tolist(), strict=True) if a < b and c < d]
    return [(0, 0, WIDTH, HEIGHT), (WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT), (0, 0, 1, 1), *inside]


def check(path):
    file = ImageFile(path)
    whole = file.read()
    height, width = file.size
    assert whole.pixels.shape[:2] == (height, width) and whole.orientation == 1
    for window in windows():
        x0, y0, x1, y1 = window if width == WIDTH else (window[1], window[0], window[3], window[2])
        part = file.read((x0, y0, x1, y1))
        assert part.pixels.dtype == whole.pixels.dtype
        assert (part.pixels == whole.pixels[y0:y1, x0:x1]).all(), (path.name, window)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_windows_of_any_tiff(tmp_path, data):
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.int16, np.float32, np.uint32]))
    samples = data.draw(st.sampled_from([1, 3]))
    bits = data.draw(st.sampled_from([1, 4, 12])) if kind == np.uint16 else None
    predictor = 1 if bits else data.draw(st.sampled_from([1, 2, 3] if kind == np.float32 else [1, 2]))
    if predictor == 2 and kind == np.float32:
        predictor = 3
    compression = data.draw(st.sampled_from([8, 5] if predictor > 1 else [1, 8, 5, 32773, 32946]))
    tile = data.draw(st.sampled_from([None, 16, 32, 80]))
    top = 2**bits if bits else 200
    pixels = RNG.integers(0, top, (HEIGHT, WIDTH, samples)).astype(kind)
    path = tmp_path / f"{data.draw(st.uuids())}.tif"
    write_tiff(
        path,
        [
            page(
                pixels,
                order := data.draw(st.sampled_from("<>")),
                bits=bits,
                photometric=2 if samples == 3 else 1,
                compression=compression,
                predictor=predictor,
                tile=tile,
                rows=data.draw(st.sampled_from([None, 7, 1])),
                planar=data.draw(st.sampled_from([1, 2])) if samples > 1 else 1,
                t274=data.draw(st.integers(1, 8)),
            )
        ],
        order,
        big=data.draw(st.booleans()),
    )
    check(path)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "jpeg", "photometric": "ycbcr", "tile": (16, 16)},
        {"compression": "jpeg", "photometric": "ycbcr", "rowsperstrip": 16},
        {"compression": "jpeg", "photometric": "rgb", "tile": (32, 16)},
        {"compression": "zstd", "tile": (16, 16)},
        {"compression": "lzma", "rowsperstrip": 9},
        {"bigtiff": True, "tile": (32, 32)},
        {"rowsperstrip": 50},
    ],
)
def test_windows_of_what_tifffile_writes(tmp_path, options):
    smooth = np.add.outer(np.arange(HEIGHT) * 3, np.arange(WIDTH) * 2).astype(np.uint8)
    pixels = np.stack([smooth, smooth[::-1], smooth + 20], 2)
    try:
        tifffile.imwrite(tmp_path / "x.tif", pixels, **{"photometric": "rgb", **options})
    except (ValueError, KeyError, ImportError, RuntimeError) as error:
        pytest.skip(f"needs imagecodecs to be written: {error}")
    check(tmp_path / "x.tif")


def test_windows_of_other_formats(tmp_path):
    pixels = RNG.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "x.png")
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif)
    check(tmp_path / "x.png")
    check(tmp_path / "x.jpg")
    assert ImageFile(tmp_path / "x.jpg").size == (WIDTH, HEIGHT)


def test_only_the_tiles_that_a_window_touches_are_read(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", RNG.integers(0, 255, (256, 256), np.uint8), tile=(32, 32), compression="zlib")
    read = []
    asarray = PagePart.asarray
    monkeypatch.setattr(PagePart, "asarray", lambda part, **kw: read.append(part._indices) or asarray(part, **kw))
    ImageFile(tmp_path / "x.tif").read((33, 60, 66, 70))
    assert read == [[9, 10, 17, 18]]


def test_the_limit_of_pixels_is_that_of_what_is_decoded(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((100, 100), np.uint8), tile=(16, 16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    file = ImageFile(tmp_path / "x.tif")
    assert file.size == (100, 100) and file.read((0, 0, 40, 40)).pixels.shape == (40, 40)
    for read in (file.read, lambda: file.read((0, 0, 60, 60))):
        with pytest.raises(SegkitError, match=r"x.tif: has [\d,]+ pixels.*MAX_IMAGE_PIXELS"):
            read()


@pytest.mark.parametrize("window", [(0, 0, 71, 5), (-1, 0, 5, 5), (3, 3, 3, 5)])
def test_a_window_outside_of_the_image(tmp_path, window):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((HEIGHT, WIDTH), np.uint8), tile=(16, 16))
    with pytest.raises(SegkitError, match=r"x.tif: the window .* is not inside the image of 70 x 50 pixels"):
        ImageFile(tmp_path / "x.tif").read(window)


def test_missing_and_cut_off_tiles(tmp_path):
    pixels = RNG.integers(0, 255, (64, 64), np.uint8)
    path = write_tiff(tmp_path / "x.tif", [page(pixels, tile=16)])
    tags, segments = page(pixels, tile=16)
    write_tiff(tmp_path / "few.tif", [(tags, segments[:10])])
    with pytest.raises(SegkitError, match=r"few.tif: .*strips or tiles"):
        ImageFile(tmp_path / "few.tif").read((40, 40, 64, 64))
    path.write_bytes(path.read_bytes()[:-2000][:3000])
    with pytest.raises(SegkitError, match=r"x.tif: cannot be read"):
        ImageFile(path).read((40, 40, 64, 64))


@pytest.fixture
def lazy_from(monkeypatch):
    def set_limit(pixels):
        monkeypatch.setattr(image_file, "LAZY_PIXELS", pixels)
        monkeypatch.setattr(image_file, "_OPEN_FILES", image_file._OpenFiles())

    return set_limit


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_large_image_is_lazy_and_equal_by_window(tmp_path, lazy_from, dtype):
    pixels = (RNG.random((700, 900)) ** 3 * 250).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", pixels, tile=(64, 64))
    reader = ImageReader()
    assert reader.open_if_large(tmp_path / "x.tif") is None
    small = reader.read(tmp_path / "x.tif")
    lazy_from(1000)
    lazy = reader.open_if_large(tmp_path / "x.tif")
    assert isinstance(lazy, LazyImage) and lazy.shape == small.shape and lazy.dtype == small.dtype
    whole = lazy.read()
    assert (whole == reader.read(tmp_path / "x.tif")).all()
    assert (lazy.read((100, 200, 333, 444)) == whole[:, 200:444, 100:333]).all()
    if dtype == np.uint8:
        assert (whole == small).all()


def test_the_sample_of_intensities_is_bounded_and_the_whole_of_a_small_image(tmp_path, lazy_from):
    pixels = RNG.integers(0, 60000, (2200, 300)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, tile=(256, 256))
    file = ImageFile(tmp_path / "x.tif")
    assert (intensity_sample(file).pixels == pixels).all()
    lazy_from(1000)
    first, second = intensity_sample(file), intensity_sample(file)
    assert first.pixels.size <= 64 * 256 * 256 and (first.pixels == second.pixels).all()
    assert set(first.pixels[:256].ravel()) <= set(pixels.ravel())


def test_a_changed_file_and_a_forked_process_are_opened_again(tmp_path, lazy_from):
    lazy_from(1000)
    path, reader = tmp_path / "x.tif", ImageReader()
    for value in (10, 20):
        tifffile.imwrite(path, np.full((64, 64), value, np.uint8), tile=(16, 16))
        os.utime(path, (value, value))
        assert (reader.open_if_large(path).read((0, 0, 9, 9)) == value).all()
    files = image_file._OPEN_FILES
    assert len(files._files) == 1
    files.forget()
    assert not files._files and (reader.read_window(path, (0, 0, 9, 9)) == 20).all()


def test_only_some_files_stay_open(tmp_path, lazy_from):
    lazy_from(100)
    reader = ImageReader()
    for k in range(image_file.MAX_OPEN + 4):
        tifffile.imwrite(tmp_path / f"{k}.tif", np.full((64, 64), k, np.uint8), tile=(16, 16))
        assert (reader.read_window(tmp_path / f"{k}.tif", (1, 1, 20, 20)) == k).all()
    assert len(image_file._OPEN_FILES._files) == image_file.MAX_OPEN
    assert (read_image(tmp_path / "0.tif") == 0).all()


def damaged(path, index):
    """Overwrites the data of a tile."""
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[index]
    data = bytearray(path.read_bytes())
    data[offset : offset + 12] = bytes(12)
    path.write_bytes(data)
    return path


def test_an_error_names_the_damaged_tile(tmp_path):
    pixels = RNG.integers(0, 255, (64, 64), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", pixels, tile=(16, 16), compression="zlib")
    file = ImageFile(damaged(tmp_path / "x.tif", 6))
    assert np.array_equal(file.read((0, 0, 64, 16)).pixels, pixels[:16])
    expected = r"x\.tif: cannot be read as an image \(the window \(0, 0, 64, 63\): the tile at x 32, y 16: "
    with pytest.raises(SegkitError, match=expected):
        file.read((0, 0, 64, 63))


def test_an_unmarked_channel_is_judged_once_a_file(tmp_path, lazy_from):
    lazy_from(100)
    pixels = RNG.integers(0, 255, (64, 64, 4)).astype(np.uint8)
    for name, part in {"alpha.tif": (slice(0), slice(0)), "varying.tif": (slice(8), slice(8))}.items():
        pixels[..., 3] = 255
        pixels[..., 3][part] = 7
        write_tiff(tmp_path / name, [page(pixels, tile=16, compression=8, photometric=2, t338=0)])
    window = (20, 20, 50, 50)  # constant in both files
    assert ImageReader().read_window(tmp_path / "alpha.tif", window).shape == (3, 30, 30)
    with pytest.raises(SegkitError, match="channel 4 is marked neither as colour nor as"):
        ImageReader().read_window(tmp_path / "varying.tif", window)
    assert ImageReader(channels="any").read_window(tmp_path / "varying.tif", window).shape == (4, 30, 30)
    assert ImageReader(channels=[3]).read_window(tmp_path / "varying.tif", window).shape == (1, 30, 30)


def test_what_was_computed_outlives_an_open_file(tmp_path, lazy_from, monkeypatch):
    lazy_from(100)
    monkeypatch.setattr(image_file, "MAX_OPEN", 1)
    computed = []
    for name in "ab":
        write_tiff(tmp_path / name, [page(np.full((64, 64), 9, np.uint16), tile=16)])
    for name in "abab":
        ImageFile(tmp_path / name).remember("limits", lambda name=name: computed.append(name))
    assert computed == ["a", "b"]


def test_permission_errors_are_one_clear_message(tmp_path, monkeypatch):
    def refused(*arguments):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.tif").write_bytes(b"II*\0")
    monkeypatch.setattr(image_file, "is_tiff", refused)
    with pytest.raises(SegkitError, match=r"x\.tif: cannot be read: permission denied$"):
        ImageFile(tmp_path / "x.tif").read()
