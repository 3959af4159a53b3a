"""The pixel size, as each format states it, and what is no calibration."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from segkit.utils.images import PixelSize, Planes, read_pixel_size

PIXELS = np.zeros((12, 17), np.uint16)


def tiff(path, **options):
    tifffile.imwrite(path, PIXELS, **options)
    return read_pixel_size(path)


def ome(**metadata):
    return {"ome": True, "metadata": {"axes": "YX", **metadata}}


def imagej(unit, *sides):
    return {"imagej": True, "resolution": tuple(1 / side for side in sides), "metadata": {"unit": unit}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"resolution": (72, 72)}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (40_000, 20_000), "resolutionunit": "CENTIMETER"}, (0.25, 0.5)),
        ({"resolution": (25_400, 25_400), "resolutionunit": "INCH"}, (1, 1)),
        ({"resolution": (4, 2), "resolutionunit": "NONE"}, None),
        (imagej("micron", 0.25, 0.5), (0.25, 0.5)),
        (imagej("nm", 250, 500), (0.25, 0.5)),
        (imagej("mm", 0.5, 0.5), (500, 500)),
        (imagej("pixel", 1, 1), None),
        (imagej("inch", 1 / 300, 1 / 300), None),
        (imagej("inch", 1 / 25_400, 1 / 25_400), (1, 1)),
        (imagej("parsec", 0.25, 0.25), None),
        ({"imagej": True}, None),
        (ome(PhysicalSizeX=0.25, PhysicalSizeY=0.5), (0.25, 0.5)),
        (ome(PhysicalSizeX=250, PhysicalSizeXUnit="nm", PhysicalSizeY=5e-4, PhysicalSizeYUnit="mm"), (0.25, 0.5)),
        (ome(PhysicalSizeX=1, PhysicalSizeXUnit="pixel", PhysicalSizeY=1, PhysicalSizeYUnit="pixel"), None),
        (ome(PhysicalSizeX=0.25), None),
        (ome(), None),
        ({"description": "<?xml version='1.0'?><OME broken", "metadata": None}, None),
    ],
)
def test_tiff(tmp_path, options, expected):
    found = tiff(tmp_path / "x.tif", **options)
    assert found is None if expected is None else (found.width, found.height) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("dpi", "expected"), [((96, 96), None), ((50_800, 25_400), (0.5, 1)), (None, None)])
def test_png(tmp_path, dpi, expected):
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "x.png", **({"dpi": dpi} if dpi else {}))
    found = read_pixel_size(tmp_path / "x.png")
    assert found is None if expected is None else (found.width, found.height) == pytest.approx(expected, rel=1e-4)


def test_a_turned_image_has_its_upright_pixel_size(tmp_path):
    options = {"resolution": (40_000, 20_000), "resolutionunit": "CENTIMETER"}
    assert tiff(tmp_path / "x.tif", **options, extratags=[(274, 3, 1, 6, True)]) == PixelSize(0.5, 0.25)


def test_a_plane_of_a_stack_has_that_of_the_stack(tmp_path):
    stack = np.zeros((3, 12, 17), np.uint16)
    options = {"resolution": (4, 2), "metadata": {"axes": "ZYX", "unit": "micron", "spacing": 3}}
    tifffile.imwrite(tmp_path / "x.tif", stack, imagej=True, **options)
    assert read_pixel_size(tmp_path / "x.tif", Planes(z=1)) == PixelSize(0.25, 0.5)


def test_each_image_of_an_ome_tiff_has_its_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.ome.tif", ome=True) as writer:
        for side in (0.25, 0.5):
            writer.write(PIXELS, metadata={"axes": "YX", "PhysicalSizeX": side, "PhysicalSizeY": side})
    assert read_pixel_size(tmp_path / "x.ome.tif", Planes(scene=1)) == PixelSize(0.5, 0.5)


@pytest.mark.parametrize(("unit", "expected"), [("micrometer", PixelSize(0.5, 1)), ("nanometer", None), (None, None)])
def test_ome_zarr(tmp_path, unit, expected):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w")
    group.create_array("0", shape=(1, 12, 17), dtype="u1")
    units = {} if unit is None else {"unit": unit}
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", **units} for a in "yx")]
    scales = [[1, 1, 0.5], [1, 1, 1]]
    transforms = [[{"type": "scale", "scale": scale}] for scale in scales]
    datasets = [{"path": "0", "coordinateTransformations": transforms[0]}]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": datasets, "coordinateTransformations": transforms[1]}]
    found = read_pixel_size(tmp_path / "x.zarr")
    assert found == (expected if unit != "nanometer" else PixelSize(0.0005, 0.001))
