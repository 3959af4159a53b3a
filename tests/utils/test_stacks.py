"""TIFF files of several images are an error with their number, for all kinds of stacks."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from image_writers import page, write_tiff

from segkit.utils.errors import SegkitError
from segkit.utils.images import image_size, read_image, read_pixels

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 255, (5, 12, 16)).astype(np.uint8)
IMAGEJ = b"ImageJ=1.54f\nimages=5\nslices=5\nhyperstack=true\n\0"


def refused(path, count):
    for read in (read_image, read_pixels, image_size):
        with pytest.raises(SegkitError, match=rf"{path.name}: holds {count} pages; expected one image"):
            read(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_imagejs_stack_of_one_directory(tmp_path, dtype, order):
    stack = STACK.astype(dtype)
    behind = stack[1:].astype(stack.dtype.newbyteorder(order)).tobytes()
    path = write_tiff(tmp_path / "x.tif", [page(stack[0], order, t270=IMAGEJ)], order, after=behind)
    refused(path, 5)


@pytest.mark.parametrize("pixels", ["float", "rgb", "16-bit rgb", "1 bit", "two sizes", "two types"])
def test_pages(tmp_path, pixels):
    rgb = RNG.integers(0, 255, (12, 16, 3))
    kinds = {
        "float": [page(image.astype(np.float32)) for image in STACK],
        "rgb": [page(rgb.astype(np.uint8))] * 5,
        "16-bit rgb": [page(rgb.astype(np.uint16))] * 5,
        "1 bit": [page(image & 1, bits=1) for image in STACK],
        "two sizes": [page(STACK[0]), *[page(image[:5, :7]) for image in STACK[1:]]],
        "two types": [page(STACK[0]), *[page(image.astype(np.float64)) for image in STACK[1:]]],
    }
    refused(write_tiff(tmp_path / "x.tif", kinds[pixels]), 5)


@pytest.mark.parametrize(
    "kind",
    [
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"photometric": "minisblack"},
        {"photometric": "minisblack", "metadata": {"axes": "TYX"}, "compression": "zlib"},
        {"photometric": "minisblack", "volumetric": True, "tile": (16, 16, 16)},
        {"photometric": "minisblack", "truncate": True},
        {"photometric": "minisblack", "bigtiff": True, "byteorder": ">"},
    ],
)
def test_stacks_that_tifffile_writes(tmp_path, kind):
    tifffile.imwrite(tmp_path / "x.tif", STACK, **kind)
    refused(tmp_path / "x.tif", 5)


def test_planes_as_channels(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", STACK, photometric="minisblack", planarconfig="separate")
    with pytest.raises(SegkitError, match=r"x.tif: has 5 channels.*model\.backbone\.in_channels: 5"):
        read_image(tmp_path / "x.tif")


def test_metamorphs_stack_of_one_directory(tmp_path):
    tags, segments = page(STACK[0])
    # UIC1tag names the format; UIC2tag has six numbers for each plane, its count being that of the planes.
    path = write_tiff(
        tmp_path / "x.tif", [({**tags, 33628: [0] * 5, 33629: [1 << 17] * 5}, segments)], after=STACK[1:].tobytes()
    )
    refused(path, 5)


@pytest.mark.parametrize(
    "text", [b'{"truncated": true, "shape": [5, 12, 16]}\0', b'{"axes": "ZYX", "shape": [5, 12, 16]}\0']
)
def test_a_description_whose_keys_have_another_order(tmp_path, text):
    refused(write_tiff(tmp_path / "x.tif", [page(STACK[0], t270=text)], after=STACK[1:].tobytes()), 5)


def test_one_strip_of_several_images(tmp_path):
    tags, _ = page(STACK[0])
    refused(write_tiff(tmp_path / "x.tif", [(tags, [STACK.tobytes()])]), 5)


@pytest.mark.parametrize("extra", ["thumbnail", "old thumbnail", "mask", "thumbnail first"])
def test_thumbnails_and_masks_are_not_counted(tmp_path, extra):
    small = STACK[1, ::2, ::2]
    second = {
        "thumbnail": page(small, t254=1),
        "old thumbnail": page(small, t255=2),
        "mask": page(STACK[1] & 1, bits=1, photometric=4, t254=4),
        "thumbnail first": page(small, t254=1),
    }[extra]
    pages = [second, page(STACK[0])] if "first" in extra else [page(STACK[0]), second]
    path = write_tiff(tmp_path / "x.tif", pages)
    assert (read_pixels(path) == STACK[0]).all() and image_size(path) == (12, 16)


def test_a_pyramid_of_sub_directories(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(STACK[0], subifds=1)
        writer.write(STACK[0, ::2, ::2], subfiletype=1)
    assert (read_pixels(tmp_path / "x.tif") == STACK[0]).all()


def test_a_thumbnail_of_what_cannot_be_read(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(STACK[0, ::2, ::2], subifds=1, subfiletype=1)
        writer.write(STACK[0])
    with pytest.raises(SegkitError, match=r"x.tif: its page is a thumbnail, the image is in a sub-directory"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize(
    "description", [IMAGEJ, b'{"shape": [5, 12, 16]}\0', b"ImageJ=1.54f\n\0", b'{"shape": [12, 16]}\0']
)
def test_a_slice_saved_on_its_own_may_keep_the_stacks_description(tmp_path, description):
    for more in ({}, {"compression": 8}):
        path = write_tiff(tmp_path / "x.tif", [page(STACK[0], t270=description, **more)])
        assert (read_pixels(path) == STACK[0]).all()


def test_circular_directories(tmp_path):
    path = write_tiff(tmp_path / "x.tif", [page(STACK[0]), page(STACK[1])])
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    end = second + 2 + 12 * int.from_bytes(data[second : second + 2], "little")
    data[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, 2)
