"""XML without document types and entities, bounded in depth and size."""

import pytest

from segkit.utils import xml_reader
from segkit.utils.errors import SegkitError
from segkit.utils.xml_reader import read_xml, root_tag, stream_xml


def write(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_elements_with_their_lines(tmp_path):
    path = write(tmp_path, '<a>\n<b x="1"> text <c>2</c></b>\n<b/>\n</a>')
    first, second = read_xml(path, "a").all("b")
    assert (first.line, first.text, first.attributes, second.line) == (2, "text", {"x": "1"}, 3)
    assert first.find_text("c") == "2" and first.find_text("d", "e") is None and second.find_text() is None
    assert root_tag(path) == "a" and root_tag(write(tmp_path, "no")) is None and root_tag(tmp_path) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings(tmp_path, encoding):
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?><a><b>ü</b></a>'
    assert read_xml(write(tmp_path, text.encode(encoding)), "a").find_text("b") == "ü"


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]>\n<a>&b;</a>', [":1:", "entities"]),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', ["document type"]),
        ("<a>\n&b;</a>", [":2:", "entity"]),
        ("<a><b></a>", ["mismatched"]),
        ("<a>", ["no element"]),
        ("", ["no element"]),
        ("<b/>", ["<b>", "expected <a>"]),
        ('<?xml version="1.0" encoding="shift_jis"?><a/>', ["multi-byte"]),
        ('<?xml version="1.0" encoding="none"?><a/>', ["unknown encoding"]),
        ("<a>" + "<b>" * 100, ["32 deep"]),
    ],
)
def test_refused(tmp_path, content, facts):
    with pytest.raises(SegkitError) as error:
        read_xml(write(tmp_path, content), "a")
    assert all(fact in str(error.value) for fact in ["a.xml", *facts])


def test_bounds(tmp_path, monkeypatch):
    path = write(tmp_path, f"<a>{'<b>x</b>' * 1000}</a>")
    monkeypatch.setattr(xml_reader, "MAX_ITEM", 1000)
    assert len(list(stream_xml(path, "a"))) == 1000  # each child is small
    with pytest.raises(SegkitError, match="larger"):
        list(stream_xml(write(tmp_path, f"<a><b>{'<c/>' * 100}</b></a>"), "a"))
    monkeypatch.setattr(xml_reader, "MAX_FILE", 100)
    with pytest.raises(SegkitError, match="too large"):
        read_xml(path, "a")
    with pytest.raises(SegkitError, match="cannot be read"):
        read_xml(tmp_path / "b.xml", "a")
