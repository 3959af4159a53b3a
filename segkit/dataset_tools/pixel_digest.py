"""A hash of an image's pixels, by which equal images are found."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor


def pixel_digest(image: Tensor) -> bytes:
    """Hash of the pixels, size and type of an image [C, H, W]."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())  # images are channels-last views: no copy
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype}".encode(), digest_size=16)
    digest.update(pixels.reshape(-1).view(np.uint8).data)
    return digest.digest()
