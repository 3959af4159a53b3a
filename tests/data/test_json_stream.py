"""Streaming JSON, compared with reading it at once."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.data.formats.parsing import json_stream
from segkit.data.formats.parsing.json_stream import stream_list, stream_mapping
from segkit.utils.errors import SegkitError

TEXT = st.text(st.sampled_from('ab\\"\n/ é☃🜚{}[],:'), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
TREES = st.recursive(LEAVES, lambda some: st.lists(some, max_size=4) | st.dictionaries(TEXT, some, max_size=4))


def read(path):
    return {key: items if items is None else list(items) for key, items in stream_mapping(path)}


@settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(TEXT, TREES, max_size=5), chunk=st.integers(1, 40), indent=st.none() | st.integers(0, 2))
def test_streamed_items_equal_json_load(tmp_path, monkeypatch, tree, chunk, indent):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "some.json"
    for ascii_only in (True, False):
        path.write_text(json.dumps(tree, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
        assert read(path) == {key: value if isinstance(value, list) else None for key, value in tree.items()}


@pytest.mark.parametrize("chunk", [2, 1 << 20])
def test_truncated_files_are_an_error(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "cut.json"
    text = '{"info": {"a": [1, {}]}, "images": [{"id": -1.5e3, "n": "\\u00e9\\n"}, true, NaN], "x": null} '
    path.write_text(text)
    assert list(read(path)) == ["info", "images", "x"]
    for end in range(len(text) - 1):
        path.write_text(text[:end])
        with pytest.raises(SegkitError, match=r"cut.json: is not a JSON file \(.* at character \d+"):
            read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": 1}, {"id" 2}]}', r"delimiter at character 29 in images\[1\]"),
        ('{"images": [{"id": 1} {"id": 2}]}', r"expected ',' or ']' at character 22 in images\[0\]"),
        ('{"images": [], "images": [1]}', "the key 'images' occurs twice"),
        ('{"images": []} {}', "more text after the end at character 15"),
        ("{images: []}", "expected a key in double quotes at character 1"),
        ('{"a" []}', "expected ':' at character 5"),
        ('{"a": [' + "[" * 100000 + "]", "nested too deeply"),
        ('{"a": [' + "7" * 5000 + "]}", r"limit .* in a\[0\]"),
        ("[1, 2]", "it is no mapping"),
        ("3", "it is no mapping"),
        ("cells", "Expecting value at character 0"),
        (b'{"a": ["\xff"]}', "can't decode byte 0xff"),
    ],
)
def test_errors_name_the_position(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SegkitError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_byte_order_mark(tmp_path):
    (tmp_path / "mark.json").write_text('{"a": [1]}', encoding="utf-8-sig")
    assert read(tmp_path / "mark.json") == {"a": [1]}


def test_a_broken_file_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", 1000)
    windows = []
    grow = json_stream._Scanner.grow

    def watched(scanner):
        grow(scanner)
        windows.append(len(scanner.window))

    monkeypatch.setattr(json_stream._Scanner, "grow", watched)
    (tmp_path / "bad.json").write_text('{"a": [{"b" 1}, ' + "[2], " * 20000)
    with pytest.raises(SegkitError, match="character 12"):
        read(tmp_path / "bad.json")
    assert len(windows) == 1
    (tmp_path / "long.json").write_text('{"a": [' + "[2], " * 20000 + '"' + "x" * 50000 + '"]}')
    assert len(read(tmp_path / "long.json")["a"]) == 20001
    assert (
        len(windows) < 130 and sorted(windows)[-7] < 10000
    )  # the window of a long value grows, and shrinks afterwards


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_lists(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "some.json"
    items = [{"a": [1, 2]}, None, "x"]
    for content in (items, {"mine": items}, {"info": {"mine": 1}, "other": [3], "mine": items, "last": 4}, []):
        path.write_text(json.dumps(content, indent=1))
        assert list(stream_list(path, "mine")) == (items if content else [])
    for content in ({"mine": 3}, {"other": []}, "mine", 3.5, {}):
        path.write_text(json.dumps(content))
        with pytest.raises(LookupError):
            list(stream_list(path, "mine"))
    for broken in ("", "[1, 2", "[1] 2", "{", '{"other": [', "[1 2]"):
        path.write_text(broken)
        with pytest.raises(SegkitError, match=r"some\.json: is not a JSON file .* at character"):
            list(stream_list(path, "mine"))


def test_text_after_the_list_is_not_read(tmp_path):
    path = tmp_path / "some.json"
    path.write_text('{"mine": [1], "other": [')
    assert list(stream_list(path, "mine")) == [1]


def test_a_long_value_is_decoded_again_few_times(tmp_path, monkeypatch):
    """A feature of 20 MB, as of a slide's tissue, is decoded once for each window that cuts it off."""
    monkeypatch.setattr(json_stream, "CHUNK", 1000)
    lengths, decode = [], json.JSONDecoder.raw_decode
    monkeypatch.setattr(
        json.JSONDecoder,
        "raw_decode",
        lambda self, text, start=0: lengths.append(len(text)) or decode(self, text, start),
    )
    file = tmp_path / "a.json"
    file.write_text(json.dumps([list(range(20_000))]))
    assert next(iter(stream_list(file, "list"))) == list(range(20_000))
    assert sum(lengths) < 2.5 * file.stat().st_size
