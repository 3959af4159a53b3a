"""TIFF files: the exact stored samples, and their conversion to 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from image_writers import page, write_tiff
from PIL import Image

from segkit.utils.errors import SegkitError
from segkit.utils.images import image_size, read_image, read_pixels

RNG = np.random.default_rng(0)
SIZE = (19, 37)


def sample_ramp(dtype, shape=SIZE, bits=None):
    """Random samples over the whole range of a type, or of ``bits`` bits."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (RNG.standard_normal(shape) * 100).astype(dtype)
    info = np.iinfo(dtype)
    values = RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values.flat[:2] = info.min, info.max
    return values if bits is None else values >> (info.bits - bits)


def save(tmp_path, pixels, order="<", big=False, **kind):
    return write_tiff(tmp_path / "x.tif", [page(pixels, order=order, **kind)], order, big)


def picture(path):
    """The 8-bit image as [H, W, 3], or [H, W] if its channels are equal."""
    rgb = read_image(path).permute(1, 2, 0).numpy()
    return rgb[:, :, 0] if (rgb == rgb[:, :, :1]).all() else rgb


def scaled(values):
    """The documented scaling of more than 8 bits, in float64."""
    values = values.astype(np.float64)
    low, high = np.percentile(values, (0.1, 99.9))
    return np.clip(np.rint((values - low) * 255 / (high - low)), 0, 255)


# 1 and 8: none and deflate; 5: LZW; 32773: PackBits.
@pytest.mark.parametrize("compression", [1, 8, 5, 32773])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_every_type_is_read_as_stored(tmp_path, dtype, order, compression):
    for kind in (
        {"photometric": 0},
        {"tile": 16},
        {"rows": 4, "predictor": (3 if dtype[0] == "f" else 2) if compression in (5, 8) else 1},
    ):
        values = sample_ramp(dtype)
        found = read_pixels(save(tmp_path, values, order, compression=compression, **kind))
        assert found.dtype == values.dtype and found.shape == SIZE and (found == values).all(), kind


@pytest.mark.parametrize(
    "kind", [{}, {"planar": 2, "rows": 5}, {"tile": 16, "planar": 2}, {"compression": 5, "predictor": 2}]
)
@pytest.mark.parametrize("dtype", ["u2", "u4", "f4"])
def test_channels_are_read_as_stored(tmp_path, dtype, kind):
    if dtype == "f4" and "predictor" in kind:
        kind = {**kind, "predictor": 3}
    values = sample_ramp(dtype, (*SIZE, 3))
    for big in (False, True):
        path = save(tmp_path, values, ">", big, **kind)
        assert (read_pixels(path) == values).all()
        assert abs(read_image(path).permute(1, 2, 0).numpy() - scaled(values)).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 10, 12, 14, 31])
@pytest.mark.parametrize(
    "kind", [{}, {"compression": 5, "rows": 3}, {"tile": 16, "compression": 8}, {"photometric": 0}]
)
def test_bits_that_numpy_lacks(tmp_path, bits, kind):
    dtype = np.dtype(f"u{1 if bits <= 8 else 2 if bits <= 16 else 4}")
    values = sample_ramp(dtype, bits=bits)
    path = save(tmp_path, values, bits=bits, **kind)
    found = read_pixels(path)
    assert found.dtype == dtype and (found == values).all()
    top = 2**bits - 1
    light = top - values.astype(np.int64) if kind.get("photometric") == 0 else values.astype(np.int64)
    assert abs(picture(path) - (scaled(light) if bits > 8 else light * 255 / top)).max() <= 1


def test_a_low_limit_of_pixels_holds_for_pixels(tmp_path, monkeypatch):
    values = sample_ramp("u8")
    path = save(tmp_path, values, compression=5, rows=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", values.size)  # of 8 bytes each
    assert (read_pixels(path) == values).all()


def test_signed_samples_of_12_bits(tmp_path):
    values = np.arange(-2048, 2048, 7, dtype=np.int16)[:585].reshape(13, 45)
    tags, segments = page((values & 0xFFF).astype(np.uint16), bits=12)
    assert (read_pixels(write_tiff(tmp_path / "x.tif", [({**tags, 339: 2}, segments)])) == values).all()


def test_bits_in_reverse_order(tmp_path):
    for values, bits in ((sample_ramp("u1"), 8), (sample_ramp("u1", bits=4), 4), (sample_ramp("u2"), 16)):
        tags, (data,) = page(values, bits=bits)
        flipped = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, 8)[:, ::-1]).tobytes()
        path = write_tiff(tmp_path / "x.tif", [({**tags, 266: 2}, [flipped])])
        assert (read_pixels(path) == values).all()


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4"])
def test_white_is_zero(tmp_path, dtype):
    values = sample_ramp(dtype)
    path = save(tmp_path, values, photometric=0)
    assert (read_pixels(path) == values).all()
    light = 255 - values if dtype == "u1" else 255 - scaled(values)
    assert abs(picture(path) - light).max() <= 1


def test_fax_of_a_mask_keeps_its_samples(tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:20] = True
    for compression in ("group4", None):
        # Pillow writes mode 1 as "black is zero"; the tag alone makes it "white is zero".
        Image.fromarray(mask).save(tmp_path / "x.tif", compression=compression, tiffinfo={262: 0})
        with tifffile.TiffFile(tmp_path / "x.tif") as file:
            assert file.pages[0].photometric == 0
        shown = read_image(tmp_path / "x.tif")[0].numpy()
        with Image.open(tmp_path / "x.tif") as image:
            assert (shown == np.array(image.convert("L"))).all()
        assert (read_pixels(tmp_path / "x.tif") == (shown == 0)).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("writer_uses_8_bits", [False, True])
def test_palettes(tmp_path, bits, writer_uses_8_bits):
    colors = RNG.integers(0, 256, (2**bits, 3))
    indices = sample_ramp("u2" if bits == 16 else "u1", bits=bits)
    stored = colors.T.ravel() * (1 if writer_uses_8_bits else 257)
    path = save(tmp_path, indices, bits=bits, photometric=3, t320=stored.tolist())
    assert (read_pixels(path) == indices).all()
    assert (read_image(path).permute(1, 2, 0).numpy() == colors[indices]).all()


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("mark", [2, 1, 0, None])
def test_the_channel_after_the_colours(tmp_path, dtype, channels, mark):
    values = sample_ramp(dtype, (*SIZE, channels))
    full = np.iinfo(dtype).max
    if mark == 1:  # colours multiplied by alpha
        values[..., -1] = np.maximum(values[..., -1], full // 2)
        plain = values[..., :-1]
        values[..., :-1] = np.rint(plain / full * values[..., -1:])
    extra = {} if mark is None else {"t338": mark}
    path = save(tmp_path, values, **extra)
    color = values[..., :-1]
    if mark == 1:
        color = np.rint(color.astype(float) * full / values[..., -1:])
    if mark in (0, None):
        with pytest.raises(
            SegkitError, match=f"x.tif: has {channels} channels, .*channel {channels} is marked neither"
        ):
            read_image(path)
        values[..., -1] = full  # a constant channel may be dropped
        path = save(tmp_path, values, **extra)
    color = color if dtype == "u1" else scaled(color)
    color = color[..., 0] if channels == 2 else color
    assert abs(picture(path).astype(float) - color).max() <= 1
    assert (read_pixels(path) == values).all()


@pytest.mark.parametrize(
    ("channels", "photometric", "marks"),
    [(5, 2, [2, 0]), (5, 1, [0] * 4), (4, 1, [0] * 3), (3, 0, [0, 0]), (20, 1, [0] * 19)],
)
def test_channels_of_unknown_meaning(tmp_path, channels, photometric, marks):
    path = save(tmp_path, sample_ramp("u2", (*SIZE, channels)), photometric=photometric, t338=marks)
    with pytest.raises(SegkitError, match=rf"x.tif: has {channels} channels"):
        read_image(path)


def test_three_channels_without_a_colour_space_are_rgb(tmp_path):
    values = sample_ramp("u1", (*SIZE, 3))
    path = save(tmp_path, values, photometric=1, t338=[0, 0], planar=2)
    assert (read_image(path).permute(1, 2, 0).numpy() == values).all()


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_cmyk(tmp_path, dtype):
    values = sample_ramp(dtype, (*SIZE, 4))
    full = np.iinfo(dtype).max
    ink = values.astype(float) / full
    light = (1 - ink[..., :3]) * (1 - ink[..., 3:])
    path = save(tmp_path, values, photometric=5)
    assert abs(picture(path) - (light * 255 if dtype == "u1" else scaled(light))).max() <= 1


@pytest.mark.parametrize("compression", [1, 5])
def test_ycbcr(tmp_path, compression):
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[:8, :, 0], rgb[8:, :, 2], rgb[:, 8:, 1] = 200, 150, 90
    ycbcr = np.array(Image.fromarray(rgb).convert("YCbCr"))
    path = save(tmp_path, ycbcr, photometric=6, compression=compression, t530=[1, 1])
    assert abs(picture(path).astype(int) - rgb).max() <= 3
    # Chroma of two by two pixels: four luma samples, then Cb and Cr.
    luma = ycbcr[..., 0].reshape(8, 2, 8, 2).swapaxes(1, 2).reshape(8, 8, 4)
    units = np.concatenate([luma, ycbcr[::2, ::2, 1:]], axis=2)
    tags, _ = page(ycbcr, photometric=6, t530=[2, 2])
    path = write_tiff(tmp_path / "x.tif", [(tags, [units.tobytes()])])
    assert abs(picture(path).astype(int) - rgb).max() <= 3


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"photometric": 8}, "its colours are CIELAB"),
        ({"photometric": 9}, "its colours are ICCLAB"),
        ({"photometric": 6, "bits": 16}, "is YCbCr with 3 channels of 16 bits"),
        ({"t339": [5, 5, 5], "bits": 32}, "SampleFormat 5"),
        ({"t339": [3, 3, 3], "bits": 24}, "24 bits and SampleFormat 3"),
        ({"t258": [8, 8, 4]}, r"different numbers of bits \(8, 8, 4\)"),
        ({"predictor": 2}, "predictor"),
        ({"compression": 50001, "photometric": 6}, "is YCbCr with the compression WEBP; save it as RGB"),
        ({"compression": 50001}, "(WEBP need the package imagecodecs: pip install|cannot be read as an image)"),
    ],
)
def test_unsupported_files_are_errors(tmp_path, kind, message):
    dtype = {16: "u2", 24: "u4", 32: "u4"}.get(kind.get("bits"), "u1")
    tags = {k: v for k, v in kind.items() if k in ("t258", "t339")}
    rest = {k: v for k, v in kind.items() if k not in tags}
    pixels = sample_ramp(dtype, (*SIZE, 3), bits=24 if kind.get("bits") == 24 else None)
    path = save(tmp_path, pixels, **{"photometric": 2, **rest}, **tags)
    with pytest.raises(SegkitError, match=f"x.tif: .*{message}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_samples_without_a_format_are_unsigned(tmp_path):
    values = sample_ramp("u2")
    tags, segments = page(values)
    for change in ({339: 4}, {339: None}, {262: None}):  # void; no SampleFormat; no PhotometricInterpretation
        path = write_tiff(tmp_path / "x.tif", [({k: v for k, v in (tags | change).items() if v is not None}, segments)])
        assert (read_pixels(path) == values).all() and abs(picture(path) - scaled(values)).max() <= 1


@pytest.mark.parametrize("kind", [{}, {"compression": 5}, {"compression": 8}, {"tile": 16}, {"bits": 4}])
def test_damaged_files(tmp_path, kind):
    pixels = sample_ramp("u1", bits=kind.get("bits"))
    tags, segments = page(pixels, rows=None if "tile" in kind else 5, **kind)
    path = write_tiff(tmp_path / "x.tif", [(tags, segments[:-1])])  # a strip or tile is missing
    for read in (read_image, read_pixels):
        with pytest.raises(SegkitError, match=r"x.tif: cannot be read as an image"):
            read(path)
    whole = tmp_path / "y.tif"
    tifffile.imwrite(whole, sample_ramp("u2", (90, 90, 3)), photometric="rgb")
    whole.write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(SegkitError, match=r"y.tif: cannot be read as an image"):
        read_image(whole)


@pytest.mark.parametrize(
    ("dtype", "offset", "spread"), [("u4", 2**31, 900), ("i4", -(2**31), 900), ("f8", 1e9, 1.0), ("u8", 2**52, 5000)]
)
def test_scaling_keeps_small_differences_of_large_samples(tmp_path, dtype, offset, spread):
    ramp = np.linspace(0, spread, SIZE[0] * SIZE[1]).reshape(SIZE)
    values = (offset + ramp).astype(dtype)
    result = picture(save(tmp_path, values))
    assert abs(result - scaled(values.astype(np.float64) - offset)).max() <= 1 and len(np.unique(result)) > 200


@pytest.mark.parametrize("kind", [{}, {"compression": 8}, {"photometric": 0}, {"planar": 2, "rows": 3}, {"bits": 12}])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_size_pixels_and_picture(tmp_path, kind, orientation):
    shape = (*SIZE, 3) if "planar" in kind else SIZE
    values = sample_ramp("u2", shape, bits=kind.get("bits"))
    ways = {
        1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 5: values.swapaxes(0, 1),
        6: np.rot90(values, -1), 7: np.rot90(values, 2).swapaxes(0, 1), 8: np.rot90(values),
    }  # fmt: skip
    expected = ways[orientation]
    path = save(tmp_path, values, t274=orientation, **kind)
    assert (read_pixels(path) == expected).all() and image_size(path) == expected.shape[:2]
    light = 65535 - expected if kind.get("photometric") == 0 else expected
    assert abs(picture(path) - scaled(light)).max() <= 1
