"""Pictures as data URIs, which a page contains in its own text."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor
from torch.nn import functional as F

from segkit.utils.images import composite

QUALITY = 85  # of JPEG
SMALL_SIDE = 300  # smaller images stay lossless, and are shown with square pixels
_LOSSY = (("JPEG", {"quality": QUALITY}), ("WEBP", {"quality": 82, "method": 2}))
_SMALLER = 0.8  # factor of the sides, when a picture has too many bytes in every kind
_SMALLEST = 64  # side that is never scaled down


def enlargement(size: tuple[int, int]) -> int:
    """Units of an overlay for a pixel of a picture of ``size``: more than 1 for small ones.

    Hatching and outlines are then as fine on them as on others.
    """
    return max(1, SMALL_SIDE // max(size))


def thumbnail_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(H, W) of an image of ``size`` (H, W) scaled down until its longer side is ``side``."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def picture_uri(image: Tensor, size: tuple[int, int]) -> str:
    """An image [C, H, W], of any type and channels, as a data URI scaled to ``size``.

    ``size`` is (H, W). Small images are PNG, others JPEG.
    """
    small = max(size) < SMALL_SIDE
    return _uri(_encode(_scaled(composite(image), size), *(("PNG", {"optimize": True}) if small else _LOSSY[0])))


def bounded_picture_uri(image: Tensor, size: tuple[int, int], max_bytes: int) -> str:
    """As :func:`picture_uri`, in the kind and size that fit into a number of bytes.

    Small images are PNG if that fits. Others are the smaller one of JPEG and WebP, and are scaled down until it fits.

    Args:
        image: [C, H, W].
        size: (H, W) of the picture at most.
        max_bytes: of the encoded picture; base64 adds a third. A picture of 64 pixels a side may have more.
    """
    pixels = _scaled(composite(image), size)
    if max(size) < SMALL_SIDE:
        data = _encode(pixels, "PNG", {"optimize": True})
        if len(data[1]) <= max_bytes:
            return _uri(data)
    kinds = [kind for kind in _LOSSY if kind[0] != "WEBP" or features.check("webp")]
    while True:
        data = min((_encode(pixels, *kind) for kind in kinds), key=lambda pair: len(pair[1]))
        if len(data[1]) <= max_bytes or max(size) <= _SMALLEST:
            return _uri(data)
        step = min(_SMALLER, (max_bytes / len(data[1])) ** 0.5)
        size = thumbnail_size(size, max(_SMALLEST, int(max(size) * step)))
        pixels = _scaled(pixels, size)


def _scaled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] of uint8 [H, W, 3]."""
    if size == pixels.shape[:2]:
        return pixels
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    scaled = F.interpolate(planes, size, mode="bilinear", antialias=True)[0].round().to(torch.uint8)
    return scaled.permute(1, 2, 0).contiguous().numpy()


def _encode(pixels: np.ndarray, kind: str, options: dict[str, Any]) -> tuple[str, bytes]:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return kind, stream.getvalue()


def _uri(data: tuple[str, bytes]) -> str:
    return f"data:image/{data[0].lower()};base64,{base64.b64encode(data[1]).decode()}"
