"""Suggestions for missing files that exist in another spelling, or have a similar name."""

import json
import os

import pytest
from PIL import Image

from segkit.data import Coco, ImageFolder
from segkit.utils.errors import SegkitError
from segkit.utils.paths import missing_files as module
from segkit.utils.paths.missing_files import missing_files, suggest_files

COMPOSED, DECOMPOSED = "\u00e9.png", "e\u0301.png"
SPELLINGS = [
    ("sub\\1.png", "sub/1.png", r"'\' instead of '/'"),
    ("images/1.png", "1.png", "'images/' in front"),
    ("data/sub/1.png", "sub/1.png", "'data/' in front"),
    ("1.PNG", "1.png", "upper and lower case"),
    ("Sub/1.png", "sub/1.png", "upper and lower case"),
    ("a%20b.png", "a b.png", "percent-encoded"),
    ("a b.png", "a%20b.png", "percent-encoded"),
    (DECOMPOSED, COMPOSED, "another Unicode form"),
    (COMPOSED, DECOMPOSED, "another Unicode form"),
    ("C:\\data\\1.png", "1.png", "'data/' in front"),
    ("\\\\server\\share\\1.png", "1.png", "'server/share/' in front"),
    ("file:///home/me/1.png", "1.png", "a URL"),
    ("https://example.org/a/1.png", "1.png", "a URL"),
    ("1.png ", "1.png", "blanks at an end"),
    ("1.png", "train/1.png", "it lies in the folder 'train'"),
    ("old/1.png", "new/1.png", "'old/' in front, it lies in the folder 'new'"),
    ("images\\A%20B.PNG", "a b.png", "'\\' instead of '/', 'images/' in front, percent-encoded"),
]


@pytest.mark.parametrize(("name", "there", "difference"), SPELLINGS)
def test_files_in_another_spelling_are_suggested(tmp_path, name, there, difference):
    file = tmp_path / "images" / there
    file.parent.mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(file)
    images = [{"id": 1, "file_name": name, "height": 3, "width": 4}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    with pytest.raises(SegkitError) as caught:
        Coco(json=str(tmp_path / "a.json"), images=str(tmp_path / "images"))
    message = str(caught.value)
    assert "1 of the 1 images of" in message and f"did you mean '{there}'?" in message and difference in message
    if difference == "another Unicode form":
        assert ImageFolder(root=str(tmp_path / "images"), id_map=str(tmp_path / "a.json")).load(0).size == (3, 4)
    elif ":" not in name and name != "sub\\1.png":  # id maps accept this spelling
        with pytest.raises(SegkitError) as caught:
            ImageFolder(root=str(tmp_path / "images"), id_map=str(tmp_path / "a.json"))
        assert f"did you mean '{there}'?" in str(caught.value) and difference in str(caught.value)


def test_names_that_need_no_hint(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("1.png", "sub/2.png", COMPOSED):
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    names = ["1.png", "./1.png", "sub/2.png", "sub//2.png", "sub/./2.png", COMPOSED]
    assert missing_files(tmp_path, names) == []
    for taken in (names[:1] + names[2:3], names[1:2] + names[3:4], names[4:]):
        entries = [{"file_name": name, "id": i} for i, name in enumerate(taken)]
        (tmp_path / "ids.json").write_text(json.dumps(entries))
        assert len(ImageFolder(root=str(tmp_path), id_map=str(tmp_path / "ids.json"))) == len(entries)


def test_similar_names_are_suggested():
    assert suggest_files(["q.png"], ["1.png"]) == ""
    assert suggest_files(["1.jpg"], ["1.png"]) == "; did you mean '1.png'?"
    assert suggest_files(["020.png"], ["021.png", "120.png"], ["019.png", "020.png", "021.png", "120.png"]) == ""
    assert suggest_files(["image_01.png"], ["x/image_1.png"]) == "; did you mean 'x/image_1.png'?"
    assert suggest_files(["1.png"], ["a/1.png", "b/1.png"]) == "; did you mean 'a/1.png' or 'b/1.png'?"
    assert (
        suggest_files(["b/1.PNG"], ["a/1.png", "b/1.png"]) == "; did you mean 'b/1.png'? (upper and lower case differ)"
    )
    assert suggest_files([f"x/{i}.png" for i in range(5)], [f"{i}.png" for i in range(3)]) == (
        "; for 'x/0.png' did you mean '0.png'? ('x/' in front); 3 of them exist in another spelling"
    )


def test_a_folder_is_listed_once_and_no_file_is_asked_for(tmp_path, monkeypatch):
    names = [f"{i}.png" for i in range(50)]
    for name in names[:-2]:
        (tmp_path / name).touch()
    (tmp_path / "48.png").mkdir()  # a folder, not a file
    os.symlink(tmp_path / "0.png", tmp_path / "link.png")
    asked = []
    isfile = os.path.isfile
    monkeypatch.setattr(module.os.path, "isfile", lambda path: asked.append(path) or isfile(path))
    assert missing_files(tmp_path, [*names, "link.png"]) == ["48.png", "49.png"]
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"images\[0\]: 'file_name' is empty"),
        ("1.png\n", r"missing: 1.png\\n; did you mean '1.png'\? \(blanks at an end\)"),
        ("a\0\ud83d.png", r"missing: a\\x00\\ud83d.png"),
        ("\u200b2.png", r"missing: \\u200b2.png"),
    ],
)
def test_names_that_cannot_be_shown_are_escaped(tmp_path, name, message):
    (tmp_path / "1.png").touch()
    images = [{"id": 1, "file_name": name, "height": 4, "width": 4}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    with pytest.raises(SegkitError, match=message) as error:
        Coco(json=str(tmp_path / "a.json"), images=str(tmp_path))
    assert str(error.value).isprintable()
