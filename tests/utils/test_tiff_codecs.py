"""Compressions of TIFF files that Pillow's libtiff decodes."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from image_writers import page, write_tiff
from PIL import Image

from segkit.utils.errors import SegkitError
from segkit.utils.images import read_image, read_pixels, tiff_samples


@pytest.mark.parametrize(
    ("compression", "mode"),
    [(c, m) for c in ("tiff_lzw", "packbits", "zstd", "lzma") for m in ("L", "RGB", "I;16", "CMYK")]
    + [("jpeg", "L"), ("jpeg", "RGB"), ("jpeg", "CMYK"), ("group3", "1"), ("group4", "1")],
)
def test_what_libtiff_decodes(tmp_path, compression, mode):
    smooth = np.add.outer(np.arange(40) * 3, np.arange(50) * 2).astype(np.uint8)
    image = Image.fromarray(smooth.astype(np.uint16) * 99) if mode == "I;16" else Image.fromarray(smooth).convert(mode)
    try:
        image.save(tmp_path / "x.tif", compression=compression)
    except OSError:
        pytest.skip(f"the libtiff of this Pillow has no {compression}")
    with Image.open(tmp_path / "x.tif") as again:
        expected, rgb = np.array(again), again.convert("RGB")
    assert (read_pixels(tmp_path / "x.tif") == expected).all()
    if mode != "I;16":
        assert (read_image(tmp_path / "x.tif").permute(1, 2, 0).numpy() == np.array(rgb)).all()


def test_zstandard_where_libtiff_lacks_it(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "x.tif", [page(np.zeros((4, 5), np.uint8), compression=50000)])
    if importlib.util.find_spec("imagecodecs"):
        pytest.skip("imagecodecs decodes it")
    tiff_samples._libtiff_decodes_zstd.cache_clear()
    monkeypatch.setattr(tiff_samples, "_decode", lambda *_: (_ for _ in ()).throw(OSError(-2)))
    try:
        with pytest.raises(SegkitError, match=r"x.tif: 8 bits a sample with the compression ZSTD need .* imagecodecs"):
            read_image(path)
    finally:
        tiff_samples._libtiff_decodes_zstd.cache_clear()
