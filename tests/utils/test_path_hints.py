"""Paths that cannot be opened: the reason, and the nearest file."""

import os
import unicodedata

import pytest

from segkit.utils.errors import SegkitError
from segkit.utils.paths import local_path, nearest_existing, output_file, output_folder, prepare_folder

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "images")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for name in ("a.png", "b c.png", COMPOSED, "deep/d.tif"):
        (tmp_path / "images" / name).write_bytes(b"x")
    (tmp_path / "broken.png").symlink_to("gone.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("images/A.PNG", "did you mean 'images/a.png'? (upper and lower case differ)"),
        ("Images/a.png", "did you mean 'images/a.png'? (upper and lower case differ)"),
        ("images\\a.png", "did you mean 'images/a.png'? ('\\' instead of '/')"),
        (".\\images\\A.png", "did you mean 'images/a.png'?"),
        ("/images/a.png", "did you mean 'images/a.png'? ('/' in front)"),
        (" images/a.png", "did you mean 'images/a.png'?"),
        ("'images/a.png'", "did you mean 'images/a.png'? (quotes around it)"),
        ("“images/a.png”", "did you mean 'images/a.png'?"),
        ("$DATA/a.png", "did you mean 'images/a.png'? (a variable in it)"),
        ("%DATA%\\a.png", "did you mean 'images/a.png'?"),
        ("images/b%20c.png", "did you mean 'images/b c.png'? (percent-encoded)"),
        ("file:images/a.png", "did you mean 'images/a.png'? (a URL)"),
        ("images/images/a.png", "did you mean 'images/a.png'? ('images/' in front)"),
        ("images/d.tif", "did you mean 'images/deep/d.tif'? (it lies in the folder 'deep')"),
        ("images/deep/a.png", "did you mean 'images/a.png'? ('deep/' in front)"),
        ("images/a.jpg", "did you mean 'a.png'?"),
        ("image/x.png", "there is no folder 'image'; did you mean 'images'"),
        ("images/a.png/x", "'images/a.png' is a file, not a folder"),
        ("broken.png", "is a link to 'gone.png', which does not exist"),
        ("loop.png", "is a link that leads back to itself"),
        ("s3://bucket/a.png", "'s3://' is not one of http://"),
        ("x" * 300, "longer than"),
        ("a\0b", "has a null character"),
        ("  ", "is empty"),
        (3, "must be text, not 3"),
    ],
)
def test_the_message_names_reason_and_nearest_path(folder, given, message):
    with pytest.raises(SegkitError) as raised:
        local_path(given, "image")
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_the_same_text_in_another_unicode_form_is_the_same_name(folder):
    assert local_path(f"images/{DECOMPOSED}").samefile(f"images/{COMPOSED}")


@pytest.mark.parametrize("form", ["file://{}/images/b%20c.png", "file://localhost{}/images/b%20c.png"])
def test_file_urls(folder, form):
    assert local_path(form.format(folder)) == folder / "images" / "b c.png"


def test_a_folder_in_place_of_a_file_is_an_error(folder, monkeypatch):
    with pytest.raises(SegkitError, match=r"the config 'images' is a folder, not a file; .*'a.png'"):
        local_path("images", "config", kind="file")
    with pytest.raises(SegkitError, match=r"'images/a.png' is not a folder but a file; did you mean 'images'"):
        local_path("images/a.png", "folder of images", kind="folder")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SegkitError, match=r"'images/a.png' cannot be read: permission denied"):
        local_path("images/a.png", "image", kind="file")


@pytest.fixture
def unprivileged():
    """Drops the rights of root, which may enter every folder."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_folder_that_may_not_be_entered_is_not_missing(folder, unprivileged, request):
    if os.geteuid() != 65534:
        (folder / "images").chmod(0)
        request.addfinalizer(lambda: (folder / "images").chmod(0o755))
    for given in (folder / "images/a.png", folder / "images/zzz.png"):
        with pytest.raises(SegkitError, match=r"cannot be read: permission denied"):
            local_path(given, "image")


def test_no_suggestion_if_nothing_is_similar(folder):
    assert nearest_existing("zzzzz") == ""


@pytest.mark.parametrize(
    "given",
    ["", "  ", "images/a.png", "images/a.png/out", "broken.png", "~nobody_at_all/x", "a\0", "z" * 300, "z/" * 3000],
)
def test_folders_that_cannot_be_written(folder, given):
    with pytest.raises(SegkitError, match=r"^--output: "):
        output_folder(given, "--output")
    assert not (folder / "out").exists()


def test_outputs(folder, monkeypatch):
    assert output_folder("new/out", "--output") == (folder / "new/out").relative_to(folder)
    assert not (folder / "new").exists()  # output_folder only checks it
    assert output_file("~/x.json", "--json") == folder / "x.json"
    for given in ("images", "new/", "", "z" * 300, "new/" + "z" * 300):
        with pytest.raises(SegkitError, match=r"^--json: "):
            output_file(given, "--json")
    prepare_folder(folder / "new", "--output")
    assert not list((folder / "new").iterdir())
    with pytest.raises(SegkitError, match=r"cannot be created or written to"):
        prepare_folder(folder / "images" / "a.png" / "x", "--output")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SegkitError, match=r"cannot be written to: permission denied"):
        output_folder("new/out", "--output")
