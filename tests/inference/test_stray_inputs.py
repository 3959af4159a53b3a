"""Other files beside images, links and unusual names, as inputs of predictions and data sets."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.data import ImageFolder, LabelMap
from segkit.data.formats.id_map import ImageEntry, load_id_map
from segkit.inference.find_inputs import find_inputs
from segkit.inference.output_files import name_stems
from segkit.inference.predict_files import name_inputs
from segkit.results import OverlayResultWriter, PartFiles
from segkit.utils.errors import SegkitError
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths.file_names import unique_stems

STRAY = (
    "._a.png",
    ".DS_Store",
    ".hidden.png",
    "Thumbs.db",
    "desktop.ini",
    "~$a.png",
    "a.png~",
    "a.png:Zone.Identifier",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/a.png", "x/B.PNG", "x/[1].png", "x/with space.png", "x/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / name)
    for name in STRAY:
        (tmp_path / "x" / name).write_bytes(b"stray")
    return tmp_path


def found(*inputs, **options):
    return [path.as_posix() for path in find_inputs(list(inputs), **options).files]


ALL = ["x/B.PNG", "x/[1].png", "x/a.png", "x/with space.png"]


@pytest.mark.parametrize(
    "name", [*STRAY, "__MACOSX", "THUMBS.DB", "Desktop.ini", "@eaDir", ".ipynb_checkpoints", "Icon\r"]
)
def test_litter(name):
    assert is_system_file(name)


@pytest.mark.parametrize(
    "name", ["a.png", "a._b.png", "thumbs.png", "a~b.png", "desktop", "é.tif", "[1].png", "$a.png"]
)
def test_no_litter(name):
    assert not is_system_file(name)


def test_stray_files_are_skipped_and_counted_in_the_log(folder, caplog):
    caplog.set_level(logging.INFO)
    assert found("x") == ALL and "'x': 8 hidden or system files" in caplog.text
    assert found("x/*.png") == ["x/[1].png", "x/a.png", "x/with space.png"]
    assert found("x/.hidden.png") == ["x/.hidden.png"]  # named itself
    assert ImageFolder(root="x").unlisted == 0 and len(ImageFolder(root="x")) == 4
    assert "8 hidden or system files" in ImageFolder(root="x").summary()


def test_empty_files_and_broken_links(folder, caplog):
    (folder / "x" / "empty.png").touch()
    (folder / "x" / "gone.png").symlink_to("nothing.png")
    (folder / "x" / "self.png").symlink_to("self.png")
    assert found("x") == ALL
    assert "1 empty file (empty.png), 2 broken links (gone.png, self.png)" in caplog.text
    note = ImageFolder(root="x").notes()[0]
    assert "1 empty file (empty.png)" in note and "2 broken links" in note
    for name, text in (
        ("gone.png", "is a link to 'nothing.png', which does not exist"),
        ("self.png", "leads back to itself"),
    ):
        with pytest.raises(SegkitError, match=text):
            found(f"x/{name}")
    (folder / "only").mkdir()
    (folder / "only" / "e.png").touch()
    with pytest.raises(SegkitError, match=r"holds no images .*: 1 empty file \(e\.png\)"):
        found("only")
    with pytest.raises(SegkitError, match=r"holds no images .*1 empty file"):
        ImageFolder(root="only")


def test_a_link_is_an_image_of_its_own(folder):
    (folder / "x" / "link.png").symlink_to("a.png")
    (folder / "y").symlink_to("x")
    assert found("x/a.png", "x/link.png", "x/../x/a.png", "./x/a.png", "y/../x/a.png") == ["x/a.png", "x/link.png"]
    assert found("y/a.png", "x/a.png") == ["y/a.png", "x/a.png"]
    id_map = [ImageEntry("a.png", 1, (4, 6)), ImageEntry("link.png", 2, (4, 6))]
    assert set(name_inputs(find_inputs(["x/*a.png", "x/link.png"]).files, id_map)) == {"a.png", "link.png"}


def test_links_in_a_circle_end(folder, caplog):
    (folder / "x" / "loop").symlink_to(".")
    (folder / "x" / "deep" / "up").symlink_to("../..")
    (folder / "x" / "__MACOSX").mkdir()
    (folder / "x" / "__MACOSX" / "a.png").write_bytes(b"stray")
    assert found("x/**/*.png") == ["x/[1].png", "x/a.png", "x/deep/c.png", "x/with space.png"]
    assert "2 links to folders above them" in caplog.text and "1 system folder" in caplog.text
    assert found("**/c.png") == ["x/deep/c.png"]


def test_links_that_lead_to_each_other_end(folder):
    (folder / "y").mkdir()
    for name in ("1", "2", "3"):
        (folder / "x" / f"to{name}").symlink_to("../y")
        (folder / "y" / f"to{name}").symlink_to("../x")
    assert found("x/**/c.png") == ["x/deep/c.png"]
    assert found("y/**/c.png") == [f"y/to{name}/deep/c.png" for name in ("1", "2", "3")]


def test_names_with_wildcards(folder):
    (folder / "x").rename(folder / "q[1]")
    assert found("q[1]/[1].png", "q[1]/a.png") == ["q[1]/[1].png", "q[1]/a.png"]
    assert found("q[1]/*a.png") == ["q[1]/a.png"]
    with pytest.raises(SegkitError, match=r"matches no files: the folder Q does not exist"):
        found("Q/*.png")


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_names_that_are_no_utf_8(folder):
    os.rename(b"x/a.png", b"x/a\xff.png")
    files = find_inputs(["x"]).files
    assert [os.fsencode(path) for path in files][2] == b"x/a\xff.png"
    assert list(name_inputs(files))[2] == "x/a\udcff.png"
    assert unique_stems([path.as_posix() for path in files])[2] == "a\udcff"


def test_overlays_of_an_earlier_prediction_are_skipped(folder, caplog):
    (folder / "x" / "out" / "overlays").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "x" / "out" / "overlays" / "old.png")
    assert "x/out/overlays/old.png" in found("x/**/*.png")
    assert "x/out/overlays/old.png" not in found("x/**/*.png", own_output="x/out/overlays")
    assert "1 overlay of an earlier prediction (old.png)" in caplog.text
    assert found("x/out/overlays", own_output="x/out/overlays") == ["x/out/overlays/old.png"]  # named itself
    writer = OverlayResultWriter(Path("x/out"), [], [], PartFiles("x/out/.parts"))
    assert name_stems({"a.png": folder / "x" / "a.png"}, [writer]) == {"a.png": "a"}
    assert "holds 1 .png files of other images" in caplog.text


def test_skipped_files_that_the_id_map_lists_are_predicted(folder):
    (folder / "x" / "empty.png").touch()
    inputs = find_inputs(["x"])
    named = name_inputs(
        inputs.files, [ImageEntry("empty.png", 1, (4, 6))], skipped=inputs.skipped, skip_unreadable=True
    )
    assert named["empty.png"].name == "empty.png"
    with pytest.raises(SegkitError, match=r"empty\.png: .*empty, 0 bytes"):
        name_inputs(inputs.files, [ImageEntry("empty.png", 1, (4, 6))], skipped=inputs.skipped)
    with pytest.raises(SegkitError, match=r"not among the inputs: a.png; there is x/a.png"):
        name_inputs([inputs.files[1]], [ImageEntry("a.png", 1)])
    with pytest.raises(
        SegkitError,
        match=r"not among the inputs: A.png; did you mean 'x/a.png'\? \(it lies in the folder 'x', upper",
    ):
        name_inputs(inputs.files, [ImageEntry("A.png", 1)])


@pytest.mark.parametrize(
    ("listed", "there"), [("e\u0301.png", "\u00e9.png"), ("x\\a.png", "a.png"), ("./a.png", "a.png")]
)
def test_spellings_of_the_id_map(folder, listed, there):
    (folder / "x" / "a.png").rename(folder / "x" / there)
    assert list(name_inputs([folder / "x" / there], [ImageEntry(listed, 1)])) == [listed]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[]", "lists no images"),
        ('[{"file_name": " ", "id": 1}]', "'file_name' is .* expected the name of an image"),
        ('[{"file_name": "a\\u0000.png", "id": 1}]', "expected the name of an image"),
        ('[{"file_name": "a.png", "id": 1, "height": "64", "width": 96}]', "'height' is the text '64'.* whole numbers"),
        ('[{"file_name": "a.png", "id": 1, "height": 64.5, "width": 96}]', "'height' is 64.5 and 'width' is 96"),
        ('[{"file_name": "a.png", "id": 1, "height": 64}]', "'width' is null"),
        ('[{"file_name": "a.png", "id": 1, "height": 0, "width": 96}]', "two positive whole numbers, or neither"),
        ('[{"file_name": "a.png", "id": 1}, {"file_name": "./a.png", "id": 2}]', "entry 1 .* repeats"),
        ('[{"file_name": "\u00e9", "id": 1}, {"file_name": "e\u0301", "id": 2}]', "entry 1 .* repeats"),
    ],
)
def test_id_maps(folder, content, text):
    (folder / "ids.json").write_text(content, encoding="utf-8")
    with pytest.raises(SegkitError, match=text):
        load_id_map("ids.json")


def test_image_folders_and_label_maps(folder):
    (folder / "x" / "\u00e9.tif").write_bytes((folder / "x" / "a.png").read_bytes())
    (folder / "ids.json").write_text(
        json.dumps([{"file_name": "e\u0301.tif", "id": 5}, {"file_name": ".hidden.png", "id": 6}])
    )
    dataset = ImageFolder(root="x", id_map="ids.json")
    assert dataset.image_ids == [5, 6] and dataset.load(0).size == (4, 6)
    (folder / "ids.json").write_text(json.dumps([{"file_name": "A.png", "id": 5}]))
    with pytest.raises(SegkitError, match=r"missing: A.png; did you mean 'a.png'\? \(upper and lower case differ\)"):
        ImageFolder(root="x", id_map="ids.json")
    image = folder / "maps" / "1"
    image.mkdir(parents=True)
    Image.fromarray(np.ones((4, 4), np.uint8)).save(image / "image.tif")
    Image.fromarray(np.ones((4, 4), np.uint8)).save(image / "class1.tif")
    for name in ("._image.tif", "._class1.tif", "THUMBS.DB", "image.tif~", "image.tif:Zone.Identifier"):
        (image / name).write_bytes(b"stray")
    assert len(LabelMap(root="maps").load(0).targets) == 1


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["\u00e9.png", "e\u0301.tif"], ["\u00e9_png", "e\u0301_tif"]),
        (["a.png", "A.jpg"], ["a_png", "A_jpg"]),
        (["a/[1].png", "b/[1].png"], ["a__[1]", "b__[1]"]),
    ],
)
def test_overlays_of_alike_names(names, stems):
    assert unique_stems(names) == stems


def test_overlays_of_long_names(tmp_path):
    names = [
        "x" * 250 + ".png",
        "x" * 250 + ".jpg",
        "细" * 83 + ".png",
        "d" * 120 + "/" + "e" * 120 + "/a.png",
        "b/a.png",
    ]
    stems = unique_stems(names)
    assert len(set(stems)) == 5
    for stem in stems:
        (tmp_path / f"{stem}.png").touch()
