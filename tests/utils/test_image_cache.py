"""Decoded images in files: the same pixels and layout, never stale, within the budget, shared by processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from process_image_cache import read_in_process

from segkit.data.reader import open_cache
from segkit.utils.images import ImageCache, ImageReader

RNG = np.random.default_rng(0)


@pytest.fixture
def files(tmp_path):
    Image.fromarray(RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", RNG.integers(0, 9999, (40, 50)).astype(np.uint16))
    return [tmp_path / "a.png", tmp_path / "b.tif"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def reader(folder, budget=10**9, reading="r"):
    return ImageReader(cache=ImageCache(folder, budget, reading))


def test_pixels_and_layout_are_those_of_the_file(files, folder):
    cached = reader(folder)
    for path in files:
        expected = ImageReader().read(path)
        for _ in range(2):
            found = cached.read(path)
            assert (
                torch.equal(found, expected) and found.stride() == expected.stride() and found.dtype == expected.dtype
            )
            found.zero_()  # a copy of its own
    assert (cached.cache.hits, cached.cache.misses) == (2, 2)
    again = reader(folder)
    assert torch.equal(again.read(files[0]), ImageReader().read(files[0])) and again.cache.hits == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_entries(files, folder, method):
    cached = reader(folder)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    for hits in (0, 1):
        process = context.Process(target=read_in_process, args=(cached, files[1], queue))
        process.start()
        pixels, found = queue.get(timeout=60)
        process.join()
        assert found == hits and np.array_equal(pixels, ImageReader().read(files[1]).numpy())
    assert pickle.loads(pickle.dumps(cached)).read(files[1]).shape == (3, 40, 50)


def test_changed_files_and_other_readings_are_not_served(files, folder):
    cached = reader(folder)
    cached.read(files[0])
    stat = files[0].stat()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(files[0])
    os.utime(files[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert not cached.read(files[0]).any()
    other = reader(folder, reading="window")
    other.read(files[0])
    assert other.cache.hits == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "header"])
def test_damaged_entries_are_written_again(files, folder, damage):
    expected = reader(folder).read(files[0])
    entry = next(folder.glob("*.pixels"))
    data = bytearray(entry.read_bytes())
    if damage == "flipped":
        data[-1] ^= 1
    elif damage == "header":
        data[:512] = b"[" * 512
    entry.write_bytes({"cut": data[:-1], "empty": b""}.get(damage, data))
    cached = reader(folder)
    assert torch.equal(cached.read(files[0]), expected) and cached.cache.hits == 0
    assert torch.equal(cached.read(files[0]), expected) and cached.cache.hits == 1


def test_the_budget_holds(files, folder):
    size = 40 * 50 * 3 + 512
    cached = reader(folder, budget=size + 10)
    for path in files * 2:
        cached.read(path)
    assert cached.cache.size_on_disk() == (1, size) and cached.cache.hits == 1
    assert "about 1 of the 2" in cached.cache.capacity(2)
    os.utime(next(folder.glob("*.pixels")), (1, 1))
    later = reader(folder, budget=4 * 40 * 50 * 3 + 512)  # room for the other one alone
    later.read(files[1])
    assert later.cache.size_on_disk()[0] == 1, "what no later run has read makes room"
    later.read(files[1])
    assert later.cache.hits == 1


def test_a_full_disk_is_one_warning(files, folder, monkeypatch, caplog):
    cached = reader(folder)

    def full(path, *parts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cached.cache, "_write", full)
    for path in files * 2:
        assert torch.equal(cached.read(path), ImageReader().read(path))
    assert caplog.text.count("No space left on device") == 1 and not list(folder.glob("*.pixels"))


def test_the_memory_cache_is_removed_with_its_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("segkit.data.reader.SHARED_MEMORY", tmp_path)
    orphan = tmp_path / "segkit_images_killed"
    orphan.mkdir()
    (orphan / "owner").touch()
    with caplog.at_level("INFO"):
        cache = open_cache("memory", 1e-3, "r")
    assert cache.budget == 10**6 and "1.0 MB of decoded images" in caplog.text
    assert not orphan.exists() and cache.folder.is_dir()
    other = open_cache("memory", 1e-3, "r")
    assert cache.folder.is_dir(), "the folder of a living run stays"
    del cache
    assert [Path(p) for p in tmp_path.iterdir()] == [other.folder]


def test_a_cache_that_cannot_be_opened_is_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "file"))
    assert open_cache("disk", 1, "r") is None and "data.cache: disk cannot be used" in caplog.text
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "folder"))
    assert open_cache("disk", 1, "r").folder == tmp_path / "folder" / "images"
