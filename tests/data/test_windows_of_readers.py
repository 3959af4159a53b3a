"""Windows of large files are those of the whole read, for each rule of intensities, with channels, planes and a cache."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.data.formats.id_map import ImageEntry
from segkit.inference import name_inputs
from segkit.registry import INTENSITY_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageCache, ImageFile, ImageReader, Planes, image_file

SIDE = 40
RULES = (
    {"name": "percentile"},
    {"name": "percentile", "low": 5, "high": 95, "per_channel": True, "stretch_8_bit": True},
    {"name": "dtype_range"},
    {"name": "window", "low": 20, "high": 180},
)


@pytest.fixture(autouse=True)
def lazy(monkeypatch):
    monkeypatch.setattr(image_file, "LAZY_PIXELS", 100)
    monkeypatch.setattr("segkit.utils.images.sampled_windows.SAMPLED_SIDE", 4)
    monkeypatch.setattr(image_file, "_OPEN_FILES", image_file._OpenFiles())


def write_stack(path, kind, z=3, channels=4, **options):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (z, channels, SIDE, SIDE)).astype(kind)
    tifffile.imwrite(path, pixels, tile=(16, 16), photometric="minisblack", metadata={"axes": "ZCYX"}, **options)
    return pixels


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_window_is_the_whole_cropped(tmp_path, data):
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]))
    rule = data.draw(st.sampled_from([one for one in RULES if kind != np.float32 or one["name"] != "dtype_range"]))
    z = data.draw(st.sampled_from([1, "max", "mean"]))
    channels = data.draw(st.sampled_from(["all", [2], [3, 0], "any"]))
    path = tmp_path / f"{data.draw(st.uuids())}.ome.tif"
    stack = write_stack(path, kind, compression=data.draw(st.sampled_from([None, "zlib"])))
    reader = ImageReader(Planes(z=z), channels, INTENSITY_REGISTRY.build(rule))
    x0, y0 = data.draw(st.integers(0, SIDE - 1)), data.draw(st.integers(0, SIDE - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, SIDE)), data.draw(st.integers(y0 + 1, SIDE))
    lazy, whole = reader.open_if_large(path), reader.read(path)
    part = lazy.read((x0, y0, x1, y1))
    assert tuple(lazy.shape) == tuple(whole.shape) and lazy.dtype == whole.dtype == part.dtype
    assert torch.equal(part, whole[:, y0:y1, x0:x1])
    # The planes and channels are those that were asked for.
    stored = ImageFile(path, Planes(z=z)).read().pixels
    expected = stack[1] if z == 1 else stack.max(0) if z == "max" else stack.astype(np.float64).mean(0)
    assert np.allclose(stored, np.moveaxis(expected, 0, 2), atol=0.5)


@pytest.mark.parametrize("options", [{"rowsperstrip": 7}, {"rowsperstrip": 40}, {"rowsperstrip": 7, "byteorder": ">"}])
def test_rows_that_are_not_compressed_are_read_by_column(tmp_path, options):
    pixels = np.random.default_rng(0).integers(0, 60000, (SIDE, SIDE, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", **options)
    file = ImageFile(tmp_path / "x.tif")
    assert np.array_equal(file.read((5, 6, 31, 33)).pixels, pixels[6:33, 5:31])
    assert np.array_equal(file.read((0, 6, SIDE, 33)).pixels, pixels[6:33])


def test_large_images_that_are_read_whole_are_not_cached(tmp_path):
    write_stack(tmp_path / "large.ome.tif", np.uint16)
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((8, 8), np.uint8))
    (tmp_path / "cache").mkdir()
    reader = ImageReader(Planes(z=0), "all", None, ImageCache(tmp_path / "cache", 10**9, ""))
    reader.read(tmp_path / "large.ome.tif")
    assert reader.cache.size_on_disk() == (0, 0)
    reader.read(tmp_path / "small.tif")
    assert reader.cache.size_on_disk()[0] == 1


def test_an_id_map_states_the_size_of_the_selected_plane(tmp_path):
    path = tmp_path / "x.ome.tif"
    write_stack(path, np.uint16)
    entry = ImageEntry("x.ome.tif", 1, (SIDE, SIDE))
    with pytest.raises(SegkitError, match=r"data\.planes\.z"):
        name_inputs([path], [entry])
    assert name_inputs([path], [entry], reader=ImageReader(Planes(z=2))) == {"x.ome.tif": path}
