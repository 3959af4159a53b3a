"""Formats that Pillow decodes: changes to samples are undone, or an error."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_writers import write_png
from PIL import Image, ImageFile, features

from segkit.utils.errors import SegkitError
from segkit.utils.images import image_size, png16, read_image, read_pixels

RNG = np.random.default_rng(0)
SIZE = (19, 37)


def scaled(values):
    values = values.astype(np.float64)
    low, high = np.percentile(values, (0.1, 99.9))
    return np.clip(np.rint((values - low) * 255 / (high - low)), 0, 255)


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("highest", [300, 4095, 65535])
def test_png_of_16_bits(tmp_path, channels, interlace, highest):
    values = RNG.integers(0, highest + 1, (*SIZE, channels)).astype(np.uint16)
    path = write_png(tmp_path / "x.png", values, interlace=interlace)
    found = read_pixels(path)
    assert found.dtype == np.uint16 and (found.reshape(values.shape) == values).all()
    color = values[..., : 1 if channels < 3 else 3]  # alpha does not count for the percentiles
    assert abs(read_image(path).permute(1, 2, 0).numpy() - scaled(color)).max() <= 1
    assert image_size(path) == SIZE


@pytest.mark.parametrize("kind", ["gamma", "transparent colour", "orientation", "significant bits"])
def test_chunks_of_a_png_do_not_change_its_samples(tmp_path, kind):
    values = RNG.integers(0, 65536, (*SIZE, 3)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = {
        "gamma": (b"gAMA", struct.pack(">I", 100000)),
        "transparent colour": (b"tRNS", values[0, 0].astype(">u2").tobytes()),
        "orientation": (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        "significant bits": (b"sBIT", bytes([12, 12, 12])),
    }[kind]
    expected = np.rot90(values, -1) if kind == "orientation" else values
    path = write_png(tmp_path / "x.png", values, chunks=[chunk])
    assert (read_pixels(path) == expected).all() and image_size(path) == expected.shape[:2]
    assert abs(read_image(path).permute(1, 2, 0).numpy() - scaled(expected)).max() <= 1


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_of_few_bits(tmp_path, depth, interlace):
    values = RNG.integers(0, 2**depth, SIZE).astype(np.uint8)
    path = write_png(tmp_path / "x.png", values, depth=depth, interlace=interlace)
    found = read_pixels(path)
    assert found.dtype == np.uint8 and (found == values).all()
    assert (read_image(path)[1].numpy() == values.astype(int) * 255 // (2**depth - 1)).all()
    colors = RNG.integers(0, 256, (2**depth - (depth > 1), 3)).astype(np.uint8)  # the last index has no colour: black
    path = write_png(tmp_path / "p.png", values, depth, 3, interlace, [(b"PLTE", colors.tobytes())])
    assert (read_pixels(path) == values).all()
    shown = np.concatenate([colors, np.zeros((1, 3), np.uint8)])[values]
    assert (read_image(path).permute(1, 2, 0).numpy() == shown).all()


def j2k(mode, dtype):
    values = np.iinfo(dtype).max - RNG.integers(0, 200, (32, 32)).astype(dtype)
    file = io.BytesIO()
    Image.fromarray(values.astype(dtype)).convert(mode).save(file, "JPEG2000")
    return bytearray(file.getvalue()), values


def with_depth(data, bits):
    """The bytes of a JPEG 2000 file whose codestream header states another bit depth."""
    at = data.index(b"\xff\x4f\xff\x51") + 42
    for component in range(int.from_bytes(data[at - 2 : at], "big")):
        data[at + 3 * component] = bits - 1
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.ppm", b"P6 4 4 4095\n" + bytes(96), "more than 8 bits a channel, of which Pillow reads 8"),
        ("x.ppm", b"P3 1 1 65535\n1 2 3\n", "more than 8 bits a channel"),
        ("x.pgm", b"P5 4 4 4095\n" + bytes(32), "4095.*Pillow scales"),
        ("x.pgm", b"P2 1 1 7\n1\n", "up to 7"),
        ("x.sgi", struct.pack(">HBBHHHHIII", 474, 0, 2, 3, 4, 4, 3, 0, 9, 0).ljust(512, b"\0") + bytes(96), "more than 8"),
        ("x.sgi", struct.pack(">HBBHHHHIII", 474, 0, 2, 2, 4, 4, 1, 0, 9, 0).ljust(512, b"\0") + bytes(32), "more than 8"),
        ("x.jp2", with_depth(j2k("RGB", "u1")[0], 16), "its channels have 16 bits"),
        ("x.jp2", with_depth(j2k("L", "u1")[0], 12), "its channels have 12 bits"),
    ],
)  # fmt: skip
def test_samples_that_pillow_would_truncate_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    for read in (read_image, read_pixels):
        with pytest.raises(SegkitError, match=f"{name}: .*{message}.*PNG or TIFF"):
            read(tmp_path / name)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF files")
def test_avif_of_more_than_8_bits(tmp_path):
    Image.fromarray(RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(tmp_path / "x.avif")
    assert read_image(tmp_path / "x.avif").shape == (3, 16, 16)
    data = bytearray((tmp_path / "x.avif").read_bytes())
    data[data.index(b"av1C") + 6] |= 0x40  # high_bitdepth of the codec's configuration
    at = data.index(b"pixi") + 9
    data[at : at + 3] = bytes([10, 10, 10])
    (tmp_path / "x.avif").write_bytes(data)
    with pytest.raises(SegkitError, match="more than 8 bits a channel"):
        read_image(tmp_path / "x.avif")


def test_samples_that_pillow_does_not_change(tmp_path):
    grey = RNG.integers(0, 65536, (4, 5)).astype(np.uint16)
    (tmp_path / "x.pgm").write_bytes(b"P5 5 4 65535\n" + grey.astype(">u2").tobytes())
    assert (read_pixels(tmp_path / "x.pgm") == grey).all() and read_pixels(tmp_path / "x.pgm").dtype == np.uint16
    rgb = RNG.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    for suffix in ("ppm", "sgi", "bmp", "tga", "webp", "png"):
        Image.fromarray(rgb).save(tmp_path / f"x.{suffix}", lossless=True)
        assert (read_pixels(tmp_path / f"x.{suffix}") == rgb).all(), suffix
        assert (read_image(tmp_path / f"x.{suffix}").permute(1, 2, 0).numpy() == rgb).all(), suffix
    data, values = j2k("I;16", "u2")
    (tmp_path / "x.jp2").write_bytes(bytes(data))
    assert (read_pixels(tmp_path / "x.jp2") == values).all()


def test_bitmaps_of_16_bits_a_pixel(tmp_path):
    values = RNG.integers(0, 2**15, (4, 6)).astype(np.uint16)  # five bits a channel
    head = struct.pack("<IiiHHIIiiII", 40, 6, 4, 1, 16, 0, values.nbytes, 0, 0, 0, 0)
    (tmp_path / "x.bmp").write_bytes(
        b"BM" + struct.pack("<IHHI", 54 + values.nbytes, 0, 0, 54) + head + values[::-1].tobytes()
    )
    expected = (values[..., None] >> np.array([10, 5, 0]) & 31) * (255 / 31)
    assert abs(read_image(tmp_path / "x.bmp").permute(1, 2, 0).numpy() - expected).max() <= 1


@pytest.mark.parametrize("adobe", [False, True])
def test_cmyk_jpeg(tmp_path, adobe):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, :8, 0], ink[:, 8:, 3] = 255, 100  # cyan, grey
    file = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(file, "JPEG", quality=100)
    data = file.getvalue()
    assert b"Adobe" in data  # Adobe's files store full ink as 0; without its marker, full ink is 255
    if not adobe:
        at = data.index(b"\xff\xee")
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    (tmp_path / "x.jpg").write_bytes(data)
    with Image.open(tmp_path / "x.jpg") as image:
        expected = np.array(image.convert("RGB"))
    found = read_image(tmp_path / "x.jpg").permute(1, 2, 0).numpy()
    assert abs(found.astype(int) - expected).max() <= 1
    if adobe:
        assert abs(found[8, 2].astype(int) - (0, 255, 255)).max() < 4 and abs(found[8, 13].astype(int) - 155).max() < 4


def frames(count=3):
    return [Image.fromarray(RNG.integers(0, 256, SIZE).astype(np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animations_are_refused(tmp_path, suffix):
    first, *others = frames()
    first.save(tmp_path / f"x.{suffix}", save_all=True, append_images=others)
    for read in (read_image, read_pixels, image_size):
        with pytest.raises(SegkitError, match=rf"x.{suffix}: holds 3 frames; expected one image"):
            read(tmp_path / f"x.{suffix}")
    first.save(tmp_path / f"y.{suffix}", save_all=True)
    assert read_image(tmp_path / f"y.{suffix}").shape == (3, *SIZE)


def test_mpo_files_of_phones_are_not_stacks(tmp_path):
    first, *others = frames(2)  # Pillow before 11.3 spoils the headers of more
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=others)
    first.save(tmp_path / "y.jpg")
    assert (read_pixels(tmp_path / "x.jpg") == read_pixels(tmp_path / "y.jpg")).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_size_pixels_and_picture(tmp_path, suffix, mode, orientation):
    if (mode == "I;16") > (suffix == "png"):
        return
    values = RNG.integers(0, 256, (*SIZE, 3) if mode == "RGB" else SIZE)
    values = (values * 257).astype(np.uint16) if mode == "I;16" else values.astype(np.uint8)
    image, exif = Image.fromarray(values), Image.Exif()
    image.save(tmp_path / f"y.{suffix}", lossless=True)
    exif[0x0112] = orientation
    image.save(tmp_path / f"x.{suffix}", exif=exif, lossless=True)
    plain = read_pixels(tmp_path / f"y.{suffix}")  # a JPEG is lossy
    expected = {
        1: plain, 2: plain[:, ::-1], 3: plain[::-1, ::-1], 4: plain[::-1], 5: plain.swapaxes(0, 1),
        6: np.rot90(plain, -1), 7: np.rot90(plain, 2).swapaxes(0, 1), 8: np.rot90(plain),
    }[orientation]  # fmt: skip
    assert (read_pixels(tmp_path / f"x.{suffix}") == expected).all()
    shown = read_image(tmp_path / f"x.{suffix}").permute(1, 2, 0).numpy()
    expected = scaled(expected) if mode == "I;16" else expected
    assert abs(shown - (expected if expected.ndim == 3 else expected[..., None]).astype(float)).max() <= (
        mode == "I;16"
    )
    assert image_size(tmp_path / f"x.{suffix}") == shown.shape[:2]


def test_damaged_exif_data_are_no_orientation(tmp_path):
    first = frames(1)[0]
    first.save(tmp_path / "x.png", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    assert (read_pixels(tmp_path / "x.png") == np.array(first)).all() and image_size(tmp_path / "x.png") == SIZE


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("kind", ["eXIf", "iTXt"])
def test_a_pngs_size_takes_its_pixels_only_where_metadata_follow_them(tmp_path, monkeypatch, kind, behind):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = {
        "eXIf": exif.tobytes().removeprefix(b"Exif\0\0"),
        "iTXt": b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>',
    }[kind]
    path = write_png(tmp_path / "x.png", np.array(frames(1)[0]), 8, chunks=[(kind.encode(), content)])
    if behind:
        data = path.read_bytes()
        at, end = data.index(kind.encode()) - 4, data.index(b"IDAT") - 4
        path.write_bytes(data[:at] + data[end:-12] + data[at:end] + data[-12:])
    calls, load = [], ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: (calls.append(1), load(image))[1])
    assert image_size(path) == SIZE[::-1] and bool(calls) == behind
    assert read_image(path).shape[1:] == SIZE[::-1]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_pillow_that_decodes_16_bits_in_another_way_is_refused(tmp_path, monkeypatch, channels):
    path = write_png(tmp_path / "x.png", RNG.integers(0, 65536, (*SIZE, channels)).astype(np.uint16))
    right = png16._decode_as
    for other in (lambda *a: right(*a) // 2, lambda *a: right(*a)[:, ::-1], lambda *a: 1 / 0):
        png16._works.cache_clear()
        monkeypatch.setattr(png16, "_decode_as", other)
        with pytest.raises(SegkitError, match=r"x.png: it has more than 8 bits a channel.* with Pillow \d+"):
            read_image(path)
    png16._works.cache_clear()
