"""Decoded tiles of large images in the image cache: the pixels of the file, never stale, within the budget."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest
import tifffile
from image_writers import page, write_tiff
from process_image_cache import read_window_in_process

from segkit.utils.images import ImageCache, ImageFile, ImageReader, image_file, tiff

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (50, 70, 3)).astype(np.uint8)
WINDOWS = [(0, 0, 1, 1), (10, 3, 40, 33), (16, 16, 32, 32), (60, 40, 70, 50), (0, 0, 69, 50)]
TILE = 16 * 16 * 3


@pytest.fixture(autouse=True)
def all_tiles_are_large(monkeypatch):
    monkeypatch.setattr(image_file, "LAZY_PIXELS", 100)
    monkeypatch.setattr(image_file, "_OPEN_FILES", image_file._OpenFiles())
    monkeypatch.setattr(tiff, "CACHED_ROWS", 1)


@pytest.fixture
def file(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", PIXELS, tile=(16, 16), compression="zlib", photometric="rgb")
    return tmp_path / "x.tif"


@pytest.fixture
def cache(tmp_path):
    return opened(tmp_path)


def opened(folder, budget=10**9):
    (folder / "cache").mkdir(exist_ok=True)
    return ImageCache(folder / "cache", budget, "reading")


@pytest.fixture
def decoded(monkeypatch):
    """The windows that the TIFF decoder is asked for."""
    windows, read = [], tiff.TiffSource.read
    monkeypatch.setattr(tiff.TiffSource, "read", lambda self, window: windows.append(window) or read(self, window))
    return windows


@pytest.mark.parametrize(
    "options",
    [
        {"tile": 16},
        {"rows": 7},
        {"tile": 32, "t274": 6},
        {"tile": 16, "planar": 2},
        {"tile": 16, "dtype": np.uint16, "predictor": 2, "order": ">"},
        {"tile": 16, "dtype": np.float32},
    ],
    ids=str,
)
def test_windows_are_those_of_the_file(tmp_path, cache, options, decoded):
    pixels = PIXELS.astype(options.pop("dtype", np.uint8))
    order = options.pop("order", "<")
    path = write_tiff(tmp_path / "y.tif", [page(pixels, order, compression=8, **options)], order)
    whole, cached = ImageFile(path).read(), ImageFile(path, cache=cache)
    del decoded[:]
    for _ in range(2):
        for window in WINDOWS:
            x0, y0, x1, y1 = window if whole.pixels.shape[:2] == (50, 70) else [window[k] for k in (1, 0, 3, 2)]
            part = cached.read((x0, y0, x1, y1))
            assert part.pixels.dtype == whole.pixels.dtype
            assert np.array_equal(part.pixels, whole.pixels[y0:y1, x0:x1])
            assert (part.color, part.bits, part.extra) == (whole.color, whole.bits, whole.extra)
    assert len(decoded) == len(set(decoded)), "each tile is decoded once"


def test_a_tile_is_decoded_once_by_all_processes(file, tmp_path, cache, decoded):
    reader = ImageReader(cache=cache)
    expected = ImageReader().read_window(file, WINDOWS[-1]).numpy()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=read_window_in_process, args=(reader, file, WINDOWS[-1], queue))
    process.start()
    assert np.array_equal(queue.get(timeout=60), expected)
    process.join()
    del decoded[:]
    assert np.array_equal(reader.read_window(file, WINDOWS[-1]).numpy(), expected)
    assert decoded == [(0, 0, 1, 1)]
    os.utime(file, ns=(1, 1))  # another version of the file
    image_file._OPEN_FILES.forget()
    reader.read_window(file, WINDOWS[1])
    assert len(decoded) > 2


@pytest.mark.parametrize("damage", ["flipped", "header", "cut"])
def test_damaged_tiles_are_decoded_again(file, tmp_path, cache, damage):
    expected = ImageFile(file, cache=cache).read(WINDOWS[-1]).pixels
    entry = next(cache.folder.glob("*.tiles"))
    data = bytearray(entry.read_bytes())
    data[4096] ^= 1
    if damage == "header":
        data[:9] = b"[" * 9
    entry.write_bytes(data[:-1] if damage == "cut" else data)
    for _ in range(2):
        image_file._OPEN_FILES.forget()
        assert np.array_equal(ImageFile(file, cache=opened(tmp_path)).read(WINDOWS[-1]).pixels, expected)
    assert entry.stat().st_size == len(data)


def test_the_budget_holds(file, tmp_path):
    cache = opened(tmp_path, 4096 + 3 * TILE + 10)
    expected = ImageFile(file).read(WINDOWS[-1]).pixels
    assert np.array_equal(ImageFile(file, cache=cache).read(WINDOWS[-1]).pixels, expected)
    crcs = np.frombuffer(next(cache.folder.glob("*.tiles")).read_bytes()[512 : 512 + 4 * 20], np.uint32)
    assert (crcs > 0).sum() == 3
    none = ImageFile(file, cache=opened(tmp_path / "cache", 100))
    assert np.array_equal(none.read(WINDOWS[-1]).pixels, expected) and not list(none.cache.folder.glob("*.tiles"))


def test_a_full_disk_is_one_warning(file, cache, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segkit.utils.images.tile_cache._create", full)
    for window in WINDOWS:
        assert ImageFile(file, cache=cache).read(window).pixels.any()
    assert caplog.text.count("No space left on device") == 1


def test_a_deleted_entry_is_still_read(file, cache):
    cached = ImageFile(file, cache=cache)
    cached.read(WINDOWS[1])
    next(cache.folder.glob("*.tiles")).unlink()
    assert np.array_equal(cached.read(WINDOWS[-1]).pixels, ImageFile(file).read(WINDOWS[-1]).pixels)


def test_what_needs_no_decoding_is_not_cached(tmp_path, cache):
    tifffile.imwrite(tmp_path / "plain.tif", PIXELS, tile=(16, 16), photometric="rgb")
    ImageFile(tmp_path / "plain.tif", cache=cache).read(WINDOWS[1])
    assert not list(cache.folder.glob("*.tiles"))
