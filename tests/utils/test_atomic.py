import os

import pytest

from segkit.utils.atomic import atomic_write


def test_replaces_the_file_when_done(tmp_path):
    path = tmp_path / "sub" / "file.txt"
    for text in ("one", "two"):
        with atomic_write(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".txt"
            temporary.write_text(text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["file.txt"]


def test_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
def test_the_data_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    fsync, replace, done = os.fsync, os.replace, []

    def noting_fsync(descriptor):
        fsync(descriptor)
        done.append(os.fstat(descriptor).st_ino)

    def noting_replace(old, new):
        replace(old, new)
        done.append("renamed")

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    with atomic_write(tmp_path / "file.txt") as temporary:
        temporary.write_text("new")
        data = temporary.stat().st_ino
    assert done == [data, "renamed", tmp_path.stat().st_ino]
