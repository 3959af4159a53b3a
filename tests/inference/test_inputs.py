"""What counts as an image, and what is found where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.inference.find_inputs import find_inputs
from segkit.inference.inputs import is_single_image, to_rgb_tensor
from segkit.utils.errors import SegkitError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
WANTED = torch.from_numpy(RGB.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(
    "source",
    [
        RGB,
        np.concatenate([RGB, RGB[:, :, :1]], axis=2),
        np.asfortranarray(RGB),
        RGB[:, ::-1][:, ::-1],
        WANTED,
        torch.cat([WANTED, WANTED[:1]]),
        Image.fromarray(RGB),
        Image.fromarray(RGB).convert("RGBA"),
    ],
    ids=["array", "rgba array", "fortran", "negative strides", "tensor", "rgba tensor", "pil", "pil rgba"],
)
def test_same_image_in_every_form(source):
    assert is_single_image(source)
    found = to_rgb_tensor(source)
    assert torch.equal(found, WANTED) and found.is_contiguous()


@pytest.mark.parametrize("grey", [RGB[:, :, 0], RGB[:, :, :1], WANTED[0], WANTED[:1], Image.fromarray(RGB[:, :, 0])])
def test_grey(grey):
    assert torch.equal(to_rgb_tensor(grey), WANTED[:1].expand(3, -1, -1))


def test_paths(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    assert torch.equal(to_rgb_tensor(tmp_path / "a.png"), WANTED)
    assert torch.equal(to_rgb_tensor(str(tmp_path / "a.png")), WANTED)
    with pytest.raises(SegkitError, match=r"b.png' does not exist; beside it there is 'a.png'"):
        to_rgb_tensor(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (RGB.astype(np.float32) / 255, "float32 .* expected uint8"),
        (RGB.astype(np.uint16), "uint16 .* expected uint8"),
        (WANTED.float(), "float32 .* expected uint8"),
        (RGB.transpose(2, 0, 1), r"\[3, 5, 7\] is no image; .* other side: transpose\(1, 2, 0\)"),
        (WANTED.permute(1, 2, 0), r"\[5, 7, 3\] is no image; .* other side: permute\(2, 0, 1\)"),
        (RGB[None], "several images"),
        (RGB[0, 0], "is no image"),
        (RGB[:0], "is no image"),
        (np.zeros((5, 7, 2), np.uint8), "is no image"),
        (Image.new("I;16", (4, 4)), "more than 8 bits"),
        (3, "not a int"),
        (None, "not a NoneType"),
    ],
)
def test_what_is_no_image(source, message):
    with pytest.raises(SegkitError, match=message):
        to_rgb_tensor(source)


@pytest.fixture
def folder(tmp_path):
    for name in ("x/b.png", "x/a.PNG", "y/b.png", "notes.txt", "x/deep/c.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"pixels")
    return tmp_path


def names(folder, *inputs):
    return [p.relative_to(folder).as_posix() for p in find_inputs([str(folder / i) for i in inputs]).files]


def test_files_folders_and_globs(folder):
    assert names(folder, "x") == ["x/a.PNG", "x/b.png"]  # not of the folder in it
    assert names(folder, "*/b.png") == ["x/b.png", "y/b.png"]
    assert names(folder, "**/*.tif") == ["x/deep/c.tif"]
    assert names(folder, "y/b.png", "y", "*/b.png", "x/../y/b.png") == ["y/b.png", "x/b.png"]  # each once


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x/c.png", "x/c.png' does not exist; beside it there is"),
        ("z", "z' does not exist"),
        ("*.png", "matches no files"),
        ("*.txt", "matches 1 files, but no images"),
        (".", "holds no images .* it has 2 folders"),
    ],
)
def test_nothing_found(folder, given, message):
    with pytest.raises(SegkitError, match=message):
        names(folder, given)
