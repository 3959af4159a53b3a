"""Lines on the disk: appended, rewound and read."""

from __future__ import annotations

from segkit.results import PartFiles


def test_lines_after_rewinding(tmp_path):
    parts = PartFiles(tmp_path / "parts")
    assert list(parts.lines("table")) == [] and parts.positions() == {}
    parts.append("table", "a")
    parts.append("table", "b ü\u2028c")  # a line separator of Unicode is no line break here
    kept = parts.positions()
    parts.append("table", "d")
    parts.append("images", "e")
    assert list(parts.lines("table")) == ["a", "b ü\u2028c", "d"]
    again = PartFiles(tmp_path / "parts")
    again.rewind(kept)
    assert list(again.lines("table")) == ["a", "b ü\u2028c"] and list(again.lines("images")) == []
    again.append("table", "f")
    assert list(again.lines("table")) == ["a", "b ü\u2028c", "f"]


def test_nothing_is_left(tmp_path):
    for name in ("1", "2"):
        parts = PartFiles(tmp_path / name)
        parts.append("table", name)
        parts.close()
    both = PartFiles(tmp_path / "2", [tmp_path / "1"])
    assert list(both.lines("table")) == ["1", "2"]
    both.remove()
    assert not list(tmp_path.iterdir())
