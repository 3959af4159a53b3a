"""Flips, quarter turns and crops of masks in their boxes: exact.

Functions take the parts of an InstanceMasks (bits, extents, canvas) and return new (bits, extents).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segkit.structures.ragged import heights_widths, join, split, take_windows, tighten


def hflip(bits: Tensor, extents: Tensor, canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Left to right."""
    x0, y0, x1, y1 = extents.unbind(1)
    moved = torch.stack([canvas[1] - x1, y0, canvas[1] - x0, y1], 1)
    return join((crop.flip(1) for crop in split(bits, extents)), bits), _keep_empty(extents, moved)


def vflip(bits: Tensor, extents: Tensor, canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Upside down."""
    x0, y0, x1, y1 = extents.unbind(1)
    moved = torch.stack([x0, canvas[0] - y1, x1, canvas[0] - y0], 1)
    return join((crop.flip(0) for crop in split(bits, extents)), bits), _keep_empty(extents, moved)


def transpose(bits: Tensor, extents: Tensor) -> tuple[Tensor, Tensor]:
    """x and y exchanged."""
    swapped = extents[:, [1, 0, 3, 2]]
    if bits.numel() == 0:
        return bits, swapped
    heights, widths = heights_widths(extents)
    # numpy copies small transposed arrays three times as fast as torch.
    pieces = np.split(bits.cpu().numpy(), (heights * widths).cumsum(0)[:-1].numpy())
    sides = zip(pieces, heights.tolist(), widths.tolist(), strict=True)
    turned = np.concatenate([piece.reshape(h, w).T.reshape(-1) for piece, h, w in sides])
    return torch.from_numpy(turned).to(bits.device), swapped


def rot90(bits: Tensor, extents: Tensor, canvas: tuple[int, int], k: int) -> tuple[Tensor, Tensor]:
    """``k`` quarter turns counter-clockwise, as ``torch.rot90(dense, k, (1, 2))``."""
    k %= 4
    if k == 0:
        return bits, extents
    if k == 2:
        return vflip(*hflip(bits, extents, canvas), canvas)
    flip = vflip if k == 1 else hflip
    return flip(*transpose(bits, extents), (canvas[1], canvas[0]))


def crop(bits: Tensor, extents: Tensor, window: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """What lies in ``window`` (x0, y0, x1, y1), in its coordinates."""
    low, high = torch.tensor(window[:2]), torch.tensor(window[2:])
    inside = torch.cat([extents[:, :2].maximum(low), extents[:, 2:].minimum(high)], 1)
    gone = (inside[:, 2:] <= inside[:, :2]).any(1)
    inside = torch.where(gone[:, None], extents[:, [0, 1, 0, 1]], inside)
    cut = take_windows(bits, extents, inside)
    if not torch.equal(inside, extents):
        # A mask that was cut may have empty rows or columns at its new border.
        cut, inside = tighten(cut, inside)
    gone = (inside[:, 2:] <= inside[:, :2]).any(1)
    return cut, inside.sub(low.repeat(2)).masked_fill(gone[:, None], 0)


def _keep_empty(before: Tensor, after: Tensor) -> Tensor:
    """Extents after a move, with 0, 0, 0, 0 for the empty masks."""
    return after.masked_fill((before[:, 2] == before[:, 0])[:, None], 0)
