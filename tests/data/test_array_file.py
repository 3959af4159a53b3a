"""Array files, which processes share, and their cache."""

import errno
import io
import json
import logging
import os
import pickle
import time

import numpy as np
import pytest

from segkit.data import array_cache
from segkit.data.array_cache import cache_folder, cached_arrays
from segkit.data.array_file import MAGIC, ArrayFile, ArrayWriter
from segkit.utils.errors import SegkitError

DTYPES = {"grown": "|u1", "numbers": "<i8", "none": "<f8"}
INTEGERS = np.arange(-3, 50)


def write(stream, origin=None):
    writer = ArrayWriter(stream)
    append = writer.begin("grown", "|u1")
    append(b"one")
    append(b"two")
    writer.add("numbers", INTEGERS, "<i8")
    writer.add("none", np.zeros(0), "<f8")
    writer.finish({"origin": origin, "words": ["é"]})


def check(arrays):
    assert arrays["grown"].tobytes() == b"onetwo"
    assert np.array_equal(arrays["numbers"], INTEGERS) and len(arrays["none"]) == 0
    assert arrays.facts["words"] == ["é"]
    with pytest.raises(ValueError, match="read-only"):
        arrays["numbers"][0] = 1


@pytest.fixture
def content():
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def test_written_arrays_are_read_back(content, tmp_path):
    (tmp_path / "a.arrays").write_bytes(content)
    for source in (content, tmp_path / "a.arrays"):
        check(ArrayFile(source, DTYPES))
        check(pickle.loads(pickle.dumps(ArrayFile(source, DTYPES))))
    assert len(pickle.dumps(ArrayFile(tmp_path / "a.arrays", DTYPES))) < 500  # the path, not the content


def test_a_file_that_was_replaced_is_noticed_by_workers(content, tmp_path):
    (tmp_path / "a.arrays").write_bytes(content)
    sent = pickle.dumps(ArrayFile(tmp_path / "a.arrays", DTYPES))
    with open(tmp_path / "b.arrays", "wb") as stream:
        write(stream, "other")
    os.replace(tmp_path / "b.arrays", tmp_path / "a.arrays")
    with pytest.raises(SegkitError, match=r"a\.arrays: its content was changed"):
        pickle.loads(sent)


def test_damage_is_noticed(content):
    for size in (0, 3, 16, 100, len(content) - 20, len(content) - 1):
        with pytest.raises(SegkitError):
            ArrayFile(content[:size], DTYPES)
    for place in range(0, len(content), 7):
        with pytest.raises(SegkitError):
            ArrayFile(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :], DTYPES)
    for dtypes in ({**DTYPES, "numbers": "<f8"}, {"grown": "|u1"}, {**DTYPES, "more": "|u1"}):
        with pytest.raises(SegkitError):
            ArrayFile(content, dtypes)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "|O", "start": 64, "bytes": 8},
        {"dtype": "|u1", "start": 64, "bytes": 1 << 40},
        {"dtype": "|u1", "start": -64, "bytes": 8},
        {"dtype": "|u1", "start": 64, "bytes": -8},
        {"dtype": "|u1", "start": "x", "bytes": 8},
        [1, 2],
    ],
)
def test_a_forged_header_reaches_nothing_outside(entry):
    stream = io.BytesIO()
    writer = ArrayWriter(stream)
    writer.begin("grown", "|u1")(b"12345678")
    writer._arrays["grown"] = entry
    writer.finish({})
    with pytest.raises(SegkitError):
        ArrayFile(stream.getvalue(), {"grown": "|u1"})


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file large enough for the cache, and a function that opens it and returns the number of builds."""
    monkeypatch.setattr(array_cache, "MIN_CACHED_BYTES", 10)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "source.json"
    file.write_text("some content")
    builds = []

    def build(stream, origin):
        builds.append(origin)
        write(stream, origin)

    def open_it(layout="test 1"):
        check(cached_arrays(file, build, DTYPES, layout))
        return len(builds)

    return file, open_it


def test_second_opening_is_from_the_cache(source, caplog):
    caplog.set_level(logging.INFO)
    file, open_it = source
    assert open_it() == 1 and "written to the cache" in caplog.text
    assert open_it() == 1 and "read from the cache" in caplog.text
    assert [path.suffix for path in cache_folder().iterdir()] == [".arrays"]
    file.write_text("other content")
    assert open_it() == 2 and open_it() == 2
    os.utime(file, ns=(1, 1))
    assert open_it() == 3
    assert open_it("test 2") == 4 and open_it("test 2") == 4
    assert len(list(cache_folder().iterdir())) == 1  # the newest replaced the others


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: MAGIC + data[20:], lambda data: b"pickle"])
def test_a_damaged_cache_file_is_written_again(source, caplog, damage):
    _, open_it = source
    open_it()
    (place,) = cache_folder().iterdir()
    place.write_bytes(damage(place.read_bytes()))
    assert open_it() == 2 and "written again" in caplog.text
    assert open_it() == 2


def test_a_folder_that_cannot_be_created_is_a_warning(source, caplog, monkeypatch):
    file, open_it = source
    monkeypatch.setenv("SEGKIT_CACHE", str(file / "cache"))  # a folder inside a file cannot be created
    assert open_it() == 1 and open_it() == 2
    assert caplog.text.count("cannot be written to the cache") == 2


def test_a_full_disk_is_only_a_warning(source, caplog, monkeypatch):
    file, _ = source

    def build(stream, origin):
        if not isinstance(stream, io.BytesIO):
            stream.write(b"some of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(stream, origin)

    check(cached_arrays(file, build, DTYPES, "test 1"))
    assert "No space left on device" in caplog.text and not list(cache_folder().iterdir())


def test_cache_files_that_were_not_read_for_long_are_deleted(source, caplog):
    caplog.set_level(logging.INFO)
    file, open_it = source
    open_it()
    (place,) = cache_folder().iterdir()
    two_months_ago = time.time() - 61 * 86400
    others = [
        cache_folder() / name
        for name in (*(f"{n}-0123456789ab.arrays" for n in ("gone", "gone too", "recent")), "mine-1.arrays")
    ]
    for other in others:
        other.write_bytes(bytes(10**6))
    for old in (place, others[0], others[1], others[3]):
        os.utime(old, (two_months_ago, two_months_ago))
    assert open_it() == 1 and others[0].exists() and place.stat().st_mtime > two_months_ago + 86400  # it was read now
    file.write_text("other content")
    assert open_it() == 2
    assert {path.name for path in cache_folder().iterdir()} == {place.name, others[2].name, others[3].name}
    assert "deleted 2 files" in caplog.text and "60 days (2 MB)" in caplog.text


def test_small_files_are_not_cached(source, monkeypatch):
    monkeypatch.setattr(array_cache, "MIN_CACHED_BYTES", 10**6)
    _, open_it = source
    assert open_it() == 1 and open_it() == 2 and not cache_folder().exists()


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SEGKIT_CACHE", raising=False)
    assert cache_folder() == tmp_path / "segkit"
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_reading_a_cache_file_runs_no_code(content):
    assert json.loads(content[content.index(b'{"arrays"') : content.rindex(b"}") + 1])["facts"]["words"] == ["é"]
    with pytest.raises(SegkitError):
        ArrayFile(pickle.dumps(content), DTYPES)
