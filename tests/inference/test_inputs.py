"""What is accepted as an image, and which files inputs stand for."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from segkit.inference.find_inputs import find_inputs
from segkit.inference.inputs import is_single_image, to_image_tensor
from segkit.utils.errors import SegkitError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
EXPECTED = torch.from_numpy(RGB.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(
    "source",
    [
        RGB,
        np.concatenate([RGB, RGB[:, :, :1]], axis=2),
        np.asfortranarray(RGB),
        RGB[:, ::-1][:, ::-1],
        EXPECTED,
        torch.cat([EXPECTED, EXPECTED[:1]]),
        Image.fromarray(RGB),
        Image.fromarray(RGB).convert("RGBA"),
    ],
    ids=["array", "rgba array", "fortran", "negative strides", "tensor", "rgba tensor", "pil", "pil rgba"],
)
def test_same_image_in_every_form(source):
    assert is_single_image(source)
    found = to_image_tensor(source)
    assert torch.equal(found, EXPECTED) and found.is_contiguous()


@pytest.mark.parametrize(
    "grey", [RGB[:, :, 0], RGB[:, :, :1], EXPECTED[0], EXPECTED[:1], Image.fromarray(RGB[:, :, 0])]
)
def test_grey(grey):
    assert torch.equal(to_image_tensor(grey), EXPECTED[:1].expand(3, -1, -1))


def test_paths(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    assert torch.equal(to_image_tensor(tmp_path / "a.png"), EXPECTED)
    assert torch.equal(to_image_tensor(str(tmp_path / "a.png")), EXPECTED)
    with pytest.raises(SegkitError, match=r"b.png' does not exist; did you mean 'a.png'"):
        to_image_tensor(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (RGB.astype(bool), "bool .* expected numbers"),
        (RGB.astype(np.complex64), "complex64 .* expected numbers"),
        (RGB.transpose(2, 0, 1), r"\[3, 5, 7\] is not an image; .*channels.*: transpose\(1, 2, 0\)"),
        (EXPECTED.permute(1, 2, 0), r"\[5, 7, 3\] is not an image; .*channels.*: permute\(2, 0, 1\)"),
        (RGB[None], "several images"),
        (RGB[0, 0], "is not an image"),
        (RGB[:0], "is not an image"),
        (np.zeros((5, 7, 2), np.uint8), "is not an image"),
        (Image.new("I;16", (4, 4)), "more than 8 bits"),
        (3, "not a int"),
        (None, "not a NoneType"),
    ],
)
def test_anything_but_an_image_is_an_error(source, message):
    with pytest.raises(SegkitError, match=message):
        to_image_tensor(source)


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pil_images_are_turned_upright_as_files_are(tmp_path, suffix, orientation, lazy):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Once Pillow has decoded a grey TIFF on its own, it is sheared for good.
    for mode in ("RGB", "L") if lazy or suffix != "tif" else ("RGB",):
        path = tmp_path / f"{mode}.{suffix}"
        Image.fromarray(RGB).convert(mode).save(path, exif=exif)
        with Image.open(path) as image:
            if not lazy:
                image.load()
            found = to_image_tensor(image)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(path.read_bytes()))).convert("RGB")
        assert torch.equal(found, torch.from_numpy(np.array(upright)).permute(2, 0, 1))
        assert torch.equal(found, to_image_tensor(path)) and found.is_contiguous()
        assert torch.equal(found, to_image_tensor(upright)), "an image that is upright already is not turned again"


@pytest.mark.parametrize("kind", ["png", "png with alpha", "tif with unknown channel", "ppm"])
def test_pil_images_whose_decoding_loses_bits(tmp_path, kind):
    path = tmp_path / f"x.{kind[:3]}"
    deep = RGB.astype(np.uint16) * 100
    if kind.startswith(
        "png"
    ):  # a header's first byte behind the size is the depth; Pillow looks at no more before it decodes
        image = Image.fromarray(RGB).convert("RGBA") if "alpha" in kind else Image.fromarray(RGB)
        image.save(path)
        data = bytearray(path.read_bytes())
        data[24] = 16
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        path.write_bytes(data)
    elif kind == "ppm":
        path.write_bytes(b"P6 7 5 65535\n" + deep.astype(">u2").tobytes())
    else:
        tifffile.imwrite(path, np.dstack([RGB, RGB[..., 0]]), photometric="rgb", extrasamples=[0])
    with Image.open(path) as image, pytest.raises(SegkitError, match="a PIL image"):
        to_image_tensor(image)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    "kind", ["16-bit rgb", "16-bit grey", "int8", "float64", "white is zero", "8-bit colour map", "stack"]
)
def test_opened_tiffs_are_read_as_their_files_are(tmp_path, kind, in_memory):
    path = tmp_path / "x.tif"
    grey = RGB[..., 0].copy()
    colors = np.arange(768, dtype=np.uint16).reshape(3, 256) % 256
    pixels, kinds = {
        "16-bit rgb": (RGB.astype(np.uint16) * 100, {"photometric": "rgb"}),
        "16-bit grey": (grey.astype(np.uint16) * 100, {}),
        "int8": (grey.astype(np.int8), {}),
        "float64": (grey.astype(np.float64), {}),
        "white is zero": (grey, {"photometric": "miniswhite"}),
        "8-bit colour map": (grey, {"photometric": "palette", "colormap": colors}),
        "stack": (np.stack([grey, grey // 2]), {"photometric": "minisblack"}),
    }[kind]
    tifffile.imwrite(path, pixels, **kinds)
    try:
        opened = Image.open(io.BytesIO(path.read_bytes()) if in_memory else path)
    except UnidentifiedImageError:
        return  # then there is no PIL image
    with opened as image:
        if kind == "stack":  # the current frame
            for number in range(2):
                image.seek(number)
                assert (to_image_tensor(image)[0].numpy() == pixels[number]).all()
        else:
            assert torch.equal(to_image_tensor(image), to_image_tensor(path))
            assert image.size == (7, 5) and np.array(image).shape[:2] == (5, 7), "Pillow can still decode it"


def test_pil_images_of_every_8_bit_mode():
    with_palette = Image.fromarray(RGB).quantize(200)
    for image in (with_palette, Image.fromarray(RGB).convert("CMYK"), Image.fromarray(RGB[..., 0]).convert("LA")):
        expected = np.array(image.convert("RGB"))
        assert torch.equal(to_image_tensor(image), torch.from_numpy(expected).permute(2, 0, 1))


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
        ("x/c.png", "x/c.png' does not exist; did you mean"),
        ("z", "z' does not exist"),
        ("*.png", "matches no files"),
        ("*.txt", "matches 1 files, but no images"),
        (".", r"holds no images .* it has 2 folders, which a glob reaches: '.*/\*/\*'"),
    ],
)
def test_nothing_found(folder, given, message):
    with pytest.raises(SegkitError, match=message):
        names(folder, given)
