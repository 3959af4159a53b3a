"""A small picture of an image, made without loading a large one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.utils.images.lazy_image import LazyImage

WINDOW = 2048  # about the side of the windows that are read of a large image


def overview(image: Tensor | LazyImage, size: tuple[int, int]) -> Tensor:
    """An image scaled down by the mean over the pixels' areas.

    A :class:`LazyImage` is read window by window: each becomes the mean over squares of whole pixels, which make a picture
    of less than twice ``size``.

    Args:
        image: [C, H, W].
        size: (h, w), at most (H, W).
    Returns:
        float32 [C, h, w], in the units of the image.
    """
    small = image.float() if isinstance(image, Tensor) else _reduced(image, size)
    return F.interpolate(small[None], size, mode="area")[0]


def _reduced(image: LazyImage, size: tuple[int, int]) -> Tensor:
    """float32 [C, ceil(H / f), ceil(W / f)]: the means over squares of f pixels."""
    height, width = image.size
    f = max(1, min(height // size[0], width // size[1]))
    side = max(1, WINDOW // f) * f
    rows = []
    for y in range(0, height, side):
        cells = []
        for x in range(0, width, side):
            window = image.read((x, y, min(x + side, width), min(y + side, height))).float()
            cells.append(F.avg_pool2d(window[None], f, ceil_mode=True, count_include_pad=False)[0])
        rows.append(torch.cat(cells, 2))
    return torch.cat(rows, 1)


def windows(image: LazyImage) -> list[tuple[int, int, int, int]]:
    """Windows x0, y0, x1, y1 that cover a large image, row by row."""
    height, width = image.size
    return [
        (x, y, min(x + WINDOW, width), min(y + WINDOW, height))
        for y in range(0, height, WINDOW)
        for x in range(0, width, WINDOW)
    ]
