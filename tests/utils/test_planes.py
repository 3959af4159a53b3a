"""Files of several planes: which axes they have, which plane is read, and what the message lists."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from image_writers import page, write_tiff
from PIL import Image

from segkit.config import DataConfig, PlanesConfig
from segkit.config.spec import Spec
from segkit.data.reader import build_reader
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageFile, ImageReader, Planes, read_image

A = np.random.default_rng(0).integers(0, 60000, (3, 4, 2, 20, 30)).astype(np.uint16)  # TZCYX
NAMES = {"Channel": {"Name": ["DAPI", "GFP"]}}
WRITTEN = {
    "imagej": {"imagej": True, "metadata": {"axes": "TZCYX", "Labels": ["DAPI", "GFP"] * 12}},
    "ome": {"ome": True, "metadata": {"axes": "TZCYX", **NAMES}},
    "ome-compressed": {"ome": True, "metadata": {"axes": "TZCYX", **NAMES}, "compression": "zlib", "tile": (16, 16)},
    "tifffile": {"metadata": {"axes": "TZCYX"}, "photometric": "minisblack"},
}


@pytest.fixture(params=WRITTEN)
def stack(request, tmp_path):
    path = tmp_path / {"tifffile": "nameless.tif", "imagej": "x.tif"}.get(request.param, "x.ome.tif")
    tifffile.imwrite(path, A, **WRITTEN[request.param])
    return path


def test_a_plane_with_all_channels(stack):
    image = ImageFile(stack, Planes(time=1, z=2)).read()
    assert (image.pixels == A[1, 2].transpose(1, 2, 0)).all() and image.color == "channels" and image.bits == 16
    assert image.channel_names == (() if stack.name == "nameless.tif" else ("DAPI", "GFP"))


def test_projections_work_by_channel(stack):
    highest = ImageFile(stack, Planes(time=2, z="max"))
    assert (highest.read().pixels == A[2].max(0).transpose(1, 2, 0)).all()
    mean = ImageFile(stack, Planes(time=2, z="mean")).read().pixels
    assert mean.dtype == np.uint16 and (mean == np.rint(A[2].mean(0)).transpose(1, 2, 0)).all()
    assert (highest.read((3, 5, 22, 17)).pixels == highest.read().pixels[5:17, 3:22]).all()


def test_one_message_lists_the_axes_and_the_keys(stack):
    expected = (
        r"holds 24 pages; expected one image: .*time \(3\), z \(4\), channels \(2.*planes\.time and data\.planes\.z"
    )
    for read in (read_image, ImageReader().size):
        with pytest.raises(SegkitError, match=expected) as raised:
            read(stack)
    assert raised.value.key == "data.planes.time"
    with pytest.raises(SegkitError, match=r"set data\.planes\.z \(an index from 0, max or mean\)"):
        ImageFile(stack, Planes(time=0)).read()


@pytest.mark.parametrize(("planes", "key"), [(Planes(time=3, z=0), "time"), (Planes(time=0, z=4), "z")])
def test_an_index_out_of_range(stack, planes, key):
    with pytest.raises(
        SegkitError, match=rf"data.planes.{key} is \d, but its axes are time \(3\).*expected 0 to"
    ) as raised:
        ImageFile(stack, planes).read()
    assert raised.value.key == f"data.planes.{key}"


def test_channels_without_a_colour_are_listed(stack):
    with pytest.raises(SegkitError, match=r"has 2 channels.*data\.channels") as raised:
        ImageReader(planes=Planes(time=0, z=0)).read(stack)
    assert ("DAPI, GFP" in str(raised.value)) == (stack.name != "nameless.tif")


def test_three_channels_are_rgb_and_one_is_grey(tmp_path):
    for count in (3, 1):
        tifffile.imwrite(tmp_path / "x.ome.tif", A[0, :count, 0], ome=True, metadata={"axes": "CYX"})
        image = ImageFile(tmp_path / "x.ome.tif").read()
        assert image.color == ("rgb" if count == 3 else "grey")
        assert read_image(tmp_path / "x.ome.tif").shape == (3, 20, 30)


def test_pages_without_a_meaning(tmp_path):
    rgb = np.random.default_rng(1).integers(0, 255, (5, 20, 30, 3)).astype(np.uint8)
    write_tiff(tmp_path / "x.tif", [page(one) for one in rgb[:4]] + [page(rgb[4, :7, :8])])
    assert (ImageFile(tmp_path / "x.tif", Planes(page=2)).read().pixels == rgb[2]).all()
    with pytest.raises(SegkitError, match=r"holds 5 pages.*page \(5\); set data\.planes\.page"):
        read_image(tmp_path / "x.tif")
    assert ImageFile(tmp_path / "x.tif", Planes(page=4)).size == (7, 8)
    write_tiff(tmp_path / "y.tif", [page(one) for one in rgb])
    assert (ImageFile(tmp_path / "y.tif", Planes(z="max")).read().pixels == rgb.max(0)).all()
    assert (ImageFile(tmp_path / "y.tif", Planes(z=3)).read().pixels == rgb[3]).all()


def test_keys_of_axes_that_a_file_lacks(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", A[0, 0, 0])
    assert (ImageFile(tmp_path / "x.tif", Planes(time=0, z="max", page=0, scene=0)).read().pixels == A[0, 0, 0]).all()
    with pytest.raises(SegkitError, match=r"data.planes.z is 1, but its axes are a single z; expected 0"):
        ImageFile(tmp_path / "x.tif", Planes(z=1)).read()


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_stack_in_one_directory_is_read_by_offset(tmp_path, order):
    planes = A[0, :, 0]
    behind = planes[1:].astype(planes.dtype.newbyteorder(order)).tobytes()
    text = b"ImageJ=1.54f\nimages=4\nslices=4\n\0"
    path = write_tiff(tmp_path / "x.tif", [page(planes[0], order, t270=text)], order, after=behind)
    for z in range(4):
        file = ImageFile(path, Planes(z=z))
        assert (file.read().pixels == planes[z]).all()
        assert (file.read((2, 3, 9, 11)).pixels == planes[z, 3:11, 2:9]).all()


def test_a_volume_in_tiles(tmp_path):
    volume = A[0, :, 0]
    tifffile.imwrite(tmp_path / "x.tif", volume, photometric="minisblack", volumetric=True, tile=(16, 16, 16))
    key = "z" if "z (4)" in message(tmp_path / "x.tif") else "page"
    assert (ImageFile(tmp_path / "x.tif", Planes(**{key: 3})).read((1, 2, 9, 9)).pixels == volume[3, 2:9, 1:9]).all()


def message(path):
    with pytest.raises(SegkitError) as raised:
        read_image(path)
    return str(raised.value)


def test_scenes_of_ome_files(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.ome.tif", ome=True) as writer:
        writer.write(A[0, 0, 0], metadata={"axes": "YX"})
        writer.write(A[0, :, 0, :9], metadata={"axes": "ZYX"})
    with pytest.raises(SegkitError, match=r"holds 2 scenes; .*set data\.planes\.scene"):
        read_image(tmp_path / "x.ome.tif")
    assert (ImageFile(tmp_path / "x.ome.tif", Planes(scene=0)).read().pixels == A[0, 0, 0]).all()
    assert (ImageFile(tmp_path / "x.ome.tif", Planes(scene=1, z=3)).read().pixels == A[0, 3, 0, :9]).all()
    with pytest.raises(SegkitError, match=r"data\.planes\.scene is 2"):
        ImageFile(tmp_path / "x.ome.tif", Planes(scene=2)).read()


def test_ome_files_do_not_open_others(tmp_path):
    other = tmp_path / "other.ome.tif"
    tifffile.imwrite(other, A[0, :2, 0], ome=True, metadata={"axes": "ZYX"})
    xml = tifffile.tiffcomment(other)
    named = xml.replace("<TiffData IFD", '<TiffData FirstZ="1" IFD').replace(
        "</Pixels>", '<TiffData IFD="0"><UUID FileName="../other.ome.tif">urn:uuid:1</UUID></TiffData></Pixels>'
    )
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "x.ome.tif", A[0, 2, 0], description=named, metadata=None)
    image = ImageFile(tmp_path / "in" / "x.ome.tif").read()
    assert (image.pixels == A[0, 2, 0]).all()


def test_the_configuration_selects_planes():
    config = DataConfig(train=Spec(format="synthetic"), planes=PlanesConfig(time=1, z="max"))
    assert build_reader(config).planes == Planes(time=1, z="max")


@pytest.mark.parametrize("planes", [Planes(page=1), Planes(time=2), Planes(z=1), Planes(scene=1)])
@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_another_plane_than_the_only_one(tmp_path, name, planes):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / name)
    assert ImageFile(tmp_path / name, Planes(z="max")).size == (4, 5)
    with pytest.raises(SegkitError, match=r"data\.planes\..* is [12]"):
        ImageFile(tmp_path / name, planes).read()
