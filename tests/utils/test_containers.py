"""Zarr, OME-Zarr, slides, ND2 and CZI: planes, channels, windows, and the packages that read them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import tifffile

from segkit.data import ImageFolder
from segkit.inference.find_inputs import find_inputs
from segkit.utils.errors import SegkitError
from segkit.utils.images import (
    ImageFile,
    ImageFiles,
    ImageReader,
    LazyImage,
    PixelSize,
    Planes,
    is_image_name,
    read_image,
    read_pixel_size,
)
from segkit.utils.paths.missing_files import missing_files

A = np.random.default_rng(0).integers(0, 60000, (2, 3, 2, 40, 50)).astype(np.uint16)  # TZCYX


def equal_by_window(path, planes, expected):
    file = ImageFile(path, planes)
    assert (file.read().pixels == expected).all() and file.size == expected.shape[:2]
    assert (file.read((3, 5, 20, 33)).pixels == expected[5:33, 3:20]).all()


def write_ome_zarr(path, version, array=A, inner="0", axes="tzcyx"):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    if ".." not in inner:
        group.create_array(inner, shape=array.shape, dtype=array.dtype, chunks=(*[1] * (array.ndim - 2), 16, 16))[:] = (
            array
        )
    multiscales = [{"version": version, "axes": [{"name": a} for a in axes], "datasets": [{"path": inner}]}]
    about = {"multiscales": multiscales, "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}}
    group.attrs.update(about if version == "0.4" else {"ome": {"version": version, **about}})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    path = write_ome_zarr(tmp_path / "x.ome.zarr", version)
    assert ImageFile(path, Planes(time=0, z=0)).read().channel_names == ("DAPI", "GFP")
    equal_by_window(path, Planes(time=1, z=2), A[1, 2].transpose(1, 2, 0))
    equal_by_window(path, Planes(time=1, z="max"), A[1].max(0).transpose(1, 2, 0))
    with pytest.raises(SegkitError, match=r"time \(2\), z \(3\), channels \(2: DAPI, GFP\); set data.planes.time and"):
        read_image(path)


def test_a_plain_array_is_an_image_of_a_folder(tmp_path):
    zarr = pytest.importorskip("zarr")
    pixels = np.random.default_rng(1).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    zarr.create_array(str(tmp_path / "x.zarr"), shape=pixels.shape, chunks=(16, 16, 3), dtype="u1")[:] = pixels
    (tmp_path / "other").mkdir()
    found = ImageFiles.in_folder(tmp_path)
    assert [path.name for path in found.images] == ["x.zarr"] and found.folders == 1
    equal_by_window(tmp_path / "x.zarr", Planes(), pixels)
    lazy = ImageReader().open_if_large(tmp_path / "x.zarr")
    assert (
        isinstance(lazy, LazyImage) and (lazy.read((1, 2, 9, 9)) == read_image(tmp_path / "x.zarr")[:, 2:9, 1:9]).all()
    )


def test_zarr_folders_are_inputs_and_images_of_annotations(tmp_path):
    zarr = pytest.importorskip("zarr")
    for name in ("x.zarr", "y.zarr"):
        zarr.create_array(str(tmp_path / name), shape=(40, 50), chunks=(16, 16), dtype="u1")[:] = 7
    assert [path.name for path in find_inputs([str(tmp_path / "x.zarr")]).files] == ["x.zarr"]
    assert [path.name for path in find_inputs([str(tmp_path)]).files] == ["x.zarr", "y.zarr"]
    assert [path.name for path in find_inputs([str(tmp_path / "**")]).files] == ["x.zarr", "y.zarr"]
    assert missing_files(tmp_path, ["x.zarr", "z.zarr"]) == ["z.zarr"]
    folder = ImageFolder(root=str(tmp_path))
    sample = folder.open(0)
    assert len(folder) == 2 and sample.is_lazy and folder.size(0) == (40, 50)
    assert (sample.materialised().image == folder.load(0).image).all()


def test_zarr_that_would_run_code_or_leave_the_folder(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "x.zarr"), shape=(4, 4), chunks=(4, 4), dtype="u1", zarr_format=2)[:] = 1
    meta = tmp_path / "x.zarr" / ".zarray"
    meta.write_text(meta.read_text().replace('"filters": null', '"filters": [{"id": "pickle", "protocol": 5}]'))
    assert "pickle" in meta.read_text()
    with pytest.raises(SegkitError, match=r"x.zarr: .*(pickle|cannot be read)"):
        read_image(tmp_path / "x.zarr")
    path = write_ome_zarr(tmp_path / "y.zarr", "0.4", inner="../x.zarr")
    with pytest.raises(SegkitError, match=r"y.zarr: its data set '../x.zarr' lies outside"):
        read_image(path)


@pytest.mark.parametrize("content", ["empty", "text", "several"])
def test_folders_that_are_no_zarr_image(tmp_path, content):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "x.zarr"
    path.mkdir()
    if content == "text":
        (path / "zarr.json").write_text("{")
    if content == "several":
        group = zarr.open_group(str(path), mode="w")
        for name in "ab":
            group.create_array(name, shape=(4, 4), dtype="u1")
    with pytest.raises(SegkitError, match=r"x\.zarr: "):
        read_image(path)


def test_slides(tmp_path):
    pytest.importorskip("tiffslide")
    pixels = np.random.default_rng(1).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "x.svs") as writer:
        about = "Aperio Image Library v1\r\n400x300 [0,0 400x300] (64x64)|AppMag = 20|MPP = 0.5"
        writer.write(pixels, tile=(64, 64), photometric="rgb", description=about, metadata=None)
        writer.write(pixels[::4, ::4], photometric="rgb", description=about, metadata=None)
        writer.write(pixels[::4, ::4], tile=(64, 64), photometric="rgb", description=about, metadata=None)
    equal_by_window(tmp_path / "x.svs", Planes(), pixels)
    assert isinstance(ImageReader().open_if_large(tmp_path / "x.svs"), LazyImage)
    assert read_pixel_size(tmp_path / "x.svs") == PixelSize(0.5, 0.5)


class FakeNd2:
    """The part of ``nd2.ND2File`` that is used: positions, time points and z planes of two channels."""

    sizes: ClassVar = {"T": 2, "P": 2, "Z": 3, "C": 2, "Y": 40, "X": 50}
    attributes = SimpleNamespace(bitsPerComponentSignificant=12)
    metadata = SimpleNamespace(
        channels=[
            SimpleNamespace(channel=SimpleNamespace(name=name), volume=volume)
            for name in ("DAPI", "GFP")
            for volume in [SimpleNamespace(axesCalibrated=(True, True, False), axesCalibration=(0.25, 0.25, 1.0))]
        ]
    )

    def __init__(self, path):
        pass

    def read_frame(self, index):
        t, p, z = np.unravel_index(index, (2, 2, 3))
        return A[t, z] + p

    def close(self):
        pass


def test_nd2(tmp_path, monkeypatch):
    module = ModuleType("nd2")
    module.ND2File = FakeNd2
    monkeypatch.setitem(sys.modules, "nd2", module)
    (tmp_path / "x.nd2").write_bytes(b"x")
    image = ImageFile(tmp_path / "x.nd2", Planes(time=1, z=2, scene=1)).read()
    assert image.channel_names == ("DAPI", "GFP") and image.bits == 12
    assert read_pixel_size(tmp_path / "x.nd2", Planes(time=0, z=0, scene=0)) == PixelSize(0.25, 0.25)
    FakeNd2.metadata.channels[0].volume.axesCalibrated = (False, False, False)
    assert read_pixel_size(tmp_path / "x.nd2", Planes(time=0, z=0, scene=0)) is None
    equal_by_window(tmp_path / "x.nd2", Planes(time=1, z=2, scene=1), (A[1, 2] + 1).transpose(1, 2, 0))
    equal_by_window(tmp_path / "x.nd2", Planes(time=0, z="max", scene=0), A[0].max(0).transpose(1, 2, 0))
    with pytest.raises(SegkitError, match=r"x.nd2: holds 2 scenes.*data\.planes\.scene"):
        read_image(tmp_path / "x.nd2")


class FakeCzi:
    """The part of ``czifile.CziFile`` that is used: a mosaic of two tiles of two channels, three z planes."""

    axes, dtype = "CZYXM0", np.dtype(np.uint16)
    shape, start = (2, 3, 40, 50, 2, 1), (0, 0, 10, -5, 0, 0)

    def __init__(self, path):
        self.filtered_subblock_directory = [
            FakeBlock((c, z, 10, -5 + 25 * m, m, 0), A[1, z, c, :, 25 * m : 25 * m + 25][None, None, :, :, None, None])
            for c in range(2)
            for z in range(3)
            for m in range(2)
        ]

    def metadata(self, raw=True):
        channels = {"Channel": [{"Name": "DAPI"}, {"Name": "GFP"}]}
        image = {"Image": {"Dimensions": {"Channels": channels}}}
        distances = [{"Id": "X", "Value": 2.5e-07}, {"Id": "Y", "Value": 5e-07}, {"Id": "Z", "Value": 1e-06}]
        scaling = {"Items": {"Distance": distances}}
        return {"ImageDocument": {"Metadata": {"Information": image, "Scaling": scaling}}}

    def close(self):
        pass


class FakeBlock:
    def __init__(self, start, data):
        self.start, self.shape, self._data = start, data.shape, data

    def data_segment(self):
        return SimpleNamespace(data=lambda resize, order: self._data)


def test_czi(tmp_path, monkeypatch):
    module = ModuleType("czifile")
    module.CziFile = FakeCzi
    monkeypatch.setitem(sys.modules, "czifile", module)
    (tmp_path / "x.czi").write_bytes(b"x")
    assert ImageFile(tmp_path / "x.czi", Planes(z=0)).read().channel_names == ("DAPI", "GFP")
    size = read_pixel_size(tmp_path / "x.czi", Planes(z=0))
    assert (size.width, size.height) == pytest.approx((0.25, 0.5))
    equal_by_window(tmp_path / "x.czi", Planes(z=2), A[1, 2].transpose(1, 2, 0))
    equal_by_window(tmp_path / "x.czi", Planes(z="max"), A[1].max(0).transpose(1, 2, 0))
    with pytest.raises(SegkitError, match=r"channels \(2: DAPI, GFP\), z \(3\); set data\.planes\.z"):
        read_image(tmp_path / "x.czi")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("x.nd2", "nd2", "microscopy"), ("x.czi", "czifile", "microscopy"), ("x.svs", "tiffslide", "slides")],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, name, package, extra):
    (tmp_path / name).write_bytes(b"x")
    assert is_image_name(name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SegkitError, match=rf"{name}: .*pip install {package} \(or pip install 'segkit\[{extra}\]'\)"):
        read_image(tmp_path / name)


def test_a_folder_without_arrays(tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(SegkitError, match="holds no Zarr array"):
        ImageReader().read(tmp_path / "x.zarr")
