"""Writes stored samples as they are: PNG for 8-bit grey and RGB, TIFF for all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segkit.utils.images.stored_image import StoredImage, to_uint8

PHOTOMETRIC = {
    "grey": "minisblack",
    "white_is_zero": "miniswhite",
    "rgb": "rgb",
    "cmyk": "separated",
    "palette": "palette",
}
EXTRA_SAMPLES = {"alpha": "UNASSALPHA", "premultiplied": "ASSOCALPHA", "unknown": "UNSPECIFIED"}


def write_stored(path: Path, image: StoredImage) -> Path:
    """Writes an upright image; reading the file returns its samples.

    Grey of fewer than 8 bits is spread over 0..255, as reading it for a model does.

    Args:
        path: without a suffix, which the samples decide; its folder is created.
        image: with ``orientation`` 1.
    Returns:
        The path written, ``.png`` or ``.tif``.
    """
    from PIL import Image

    assert image.orientation == 1
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.ascontiguousarray(image.pixels)
    if image.bits < 8 and image.color in ("grey", "white_is_zero") and not image.extra:
        pixels, plain = to_uint8(image, str(path)), True
    else:
        plain = pixels.dtype == np.uint8 and image.color in ("grey", "rgb") and not image.extra
    if plain:
        target = path.with_name(path.name + ".png")
        Image.fromarray(pixels).save(target)
        return target
    target = path.with_name(path.name + ".tif")
    _write_tiff(target, pixels, image)
    return target


def _write_tiff(path: Path, pixels: np.ndarray, image: StoredImage) -> None:
    import tifffile

    options: dict[str, Any] = {"compression": "zlib", "metadata": None}
    if image.color == "channels":
        names = {"Channel": {"Name": list(image.channel_names)}} if image.channel_names else {}
        options = {
            "compression": "zlib",
            "ome": True,
            "photometric": "minisblack",
            "metadata": {"axes": "CYX", **names},
        }
        tifffile.imwrite(path, np.moveaxis(pixels, 2, 0), **options)
        return
    # A colour space that segkit cannot convert is written as its numbers.
    options["photometric"] = PHOTOMETRIC.get(image.color, "minisblack")
    if image.extra:
        options["extrasamples"] = [EXTRA_SAMPLES[meaning] for meaning in image.extra]
    if pixels.ndim == 3:
        options["planarconfig"] = "contig"
    if image.palette is not None:
        colors = np.zeros((2 ** (8 * pixels.dtype.itemsize), 3), np.uint16)
        colors[: len(image.palette)] = image.palette
        options["colormap"] = colors.T * np.uint16(257)
    tifffile.imwrite(path, pixels, **options)
