"""Channels by number and name; files of 8 bits as before; pictures of any number of channels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader, composite, read_image
from segkit.utils.images.channels import choose_channels
from segkit.utils.images.stored_image import StoredImage

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 60000, (6, 9, 4)).astype(np.uint16)


def stored(names=(), extra=("unknown",) * 3):
    return StoredImage(DEEP, "grey", 16, extra=extra, channel_names=names)


def read(tmp_path, image, channels=None, **kinds):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, image, **kinds)
    return ImageReader(channels=channels).read(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_files_of_8_bits_are_read_as_before(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image = Image.fromarray(RGB)
    (image.quantize(50) if mode == "P" else image.convert(mode)).save(path)
    found, expected = ImageReader().read(path), read_image(path)
    assert found.dtype == torch.uint8 and torch.equal(found, expected) and found.stride() == expected.stride()


@pytest.mark.parametrize(
    ("channels", "expected"), [("all", [0, 1, 2, 3]), ([2, 0], [2, 0]), ([3], [3]), (["DAPI", 1, "gfp"], [2, 1, 0])]
)
def test_channels_are_picked_in_order(channels, expected):
    chosen = choose_channels(stored(("GFP", "Cy5", "DAPI", "DIC")), channels, "x.tif")
    assert np.array_equal(chosen.pixels, DEEP[:, :, expected]) and chosen.bits == 16 and not chosen.joint


@pytest.mark.parametrize(
    ("channels", "facts"),
    [
        ([4], ["x.tif", "no channel 4", "the last one is 3", "0 (GFP), 1 (Cy5), 2 (DAPI), 3 (DIC)", "data.channels"]),
        ([-1], ["no channel -1", "numbered from 0"]),
        (["DAPPI"], ["no channel 'DAPPI'", "did you mean 'DAPI'"]),
    ],
)
def test_a_channel_that_the_file_lacks(channels, facts):
    with pytest.raises(SegkitError) as error:
        choose_channels(stored(("GFP", "Cy5", "DAPI", "DIC")), channels, "x.tif")
    assert all(fact in str(error.value) for fact in facts), error.value
    assert error.value.key == "data.channels"


def test_a_name_of_several_channels_needs_a_number():
    with pytest.raises(SegkitError, match="several have this name"):
        choose_channels(stored(("a", "a", "b", "c")), ["a"], "x.tif")


def test_channels_without_names_are_listed_by_number():
    with pytest.raises(SegkitError, match=r"its channels are 0, 1, 2, 3"):
        choose_channels(stored(), ["DAPI"], "x.tif")


@pytest.mark.parametrize(
    ("mode", "channels", "expected"),
    [
        ("L", [0], lambda i: np.array(i)[..., None]),
        ("RGB", ["green", "red"], lambda i: np.array(i)[..., [1, 0]]),
        ("RGBA", ["alpha"], lambda i: np.array(i)[..., 3:]),
        ("RGBA", "all", np.array),
        ("P", ["blue"], lambda i: np.array(i.convert("RGB"))[..., 2:]),
    ],
)
def test_channels_of_colour_files(tmp_path, mode, channels, expected):
    image = Image.fromarray(RGB)
    image = image.quantize(50) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "x.png")
    found = ImageReader(channels=channels).read(tmp_path / "x.png")
    assert np.array_equal(found.permute(1, 2, 0).numpy(), expected(image))


def test_channels_that_are_no_colours_have_to_be_chosen(tmp_path):
    kinds = {"photometric": "minisblack", "planarconfig": "contig"}
    with pytest.raises(SegkitError, match=r"has 4 channels.*data.channels: \[0, 1\], or all"):
        read(tmp_path, DEEP, **kinds)
    assert read(tmp_path, DEEP, "all", **kinds).shape == (4, 6, 9)
    assert read(tmp_path, DEEP[..., 0], [0]).shape == (1, 6, 9)


def test_a_reader_can_be_pickled():
    reader = ImageReader(channels=(2, "DAPI"))
    assert pickle.loads(pickle.dumps(reader)) == reader


def test_composites():
    image = torch.zeros(4, 1, 4)
    for channel in range(4):
        image[channel, 0, channel] = 0.5  # brightened to white: the picture shows dim channels too
    assert composite(image)[0].tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 0], [128, 128, 128]]
    assert composite(image[:1])[0].tolist() == [[255] * 3, *[[0] * 3] * 3], "one channel is grey"
    eight = torch.from_numpy(RGB).permute(2, 0, 1)
    assert np.array_equal(composite(eight), RGB), "RGB of 8 bits stays as it is"
    assert np.array_equal(composite(eight[:1]), np.repeat(RGB[..., :1], 3, axis=2))
    assert composite(torch.zeros(2, 3, 4)).tolist() == np.zeros((3, 4, 3)).tolist()
    assert composite(torch.rand(9, 3, 4)).shape == (3, 4, 3), "further channels start the colours again"
