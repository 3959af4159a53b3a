"""Crops that lie one after the other in a flat tensor.

Legend: N objects, P bytes of all crops together, R rows of all crops together.
``crop_boxes`` is int64 [N, 4] on the CPU: x0, y0, x1, y1 with x1, y1 exclusive. Crop i is row-major [y1 - y0, x1 - x0].

Most operations take views of the crops and concatenate them: measured, a few microseconds an object are less than
what index arithmetic with 8 bytes of int64 for each byte of mask costs. Where the crops are on the CPU the views are
numpy's, which slices and copies small arrays several times as fast as torch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def heights_widths(crop_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Heights [N] and widths [N] of the crops."""
    sides = crop_boxes[:, 2:] - crop_boxes[:, :2]
    return sides[:, 1], sides[:, 0]


def offsets_of(crop_boxes: Tensor) -> Tensor:
    """[N + 1]: where each crop starts, and where the last one ends."""
    heights, widths = heights_widths(crop_boxes)
    return torch.cat([crop_boxes.new_zeros(1), (heights * widths).cumsum(0)])


def split(bits: Tensor, crop_boxes: Tensor) -> list[Tensor]:
    """Views of the crops, [h, w] each."""
    heights, widths = heights_widths(crop_boxes)
    pieces = bits.split((heights * widths).tolist()) if len(crop_boxes) else ()
    return [piece.view(h, w) for piece, h, w in zip(pieces, heights.tolist(), widths.tolist(), strict=True)]


def join(crops: Iterable[Tensor], like: Tensor) -> Tensor:
    """Crops one after the other, flat; ``like`` says of which type and device nothing is."""
    pieces = [crop.reshape(-1) for crop in crops]
    return torch.cat(pieces) if pieces else like.new_zeros(0)


def arrays(bits: Tensor, crop_boxes: Tensor) -> list[np.ndarray]:
    """As ``split``, as numpy's views; of a copy where the bits are on a GPU."""
    heights, widths = heights_widths(crop_boxes)
    flat, ends = bits.cpu().numpy(), offsets_of(crop_boxes).tolist()
    sides = zip(ends, ends[1:], heights.tolist(), widths.tolist(), strict=False)
    return [flat[start:end].reshape(h, w) for start, end, h, w in sides]


def pack(crops: Iterable[np.ndarray], device: torch.device | str = "cpu") -> Tensor:
    """uint8 or bool crops one after the other, flat, as uint8 on a device."""
    pieces = [crop.reshape(-1) for crop in crops]
    flat = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    return torch.from_numpy(flat.view(np.uint8)).to(device)


def used_window(crop: np.ndarray) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the set pixels in a crop; zeros where none is."""
    rows, columns = crop.any(1).nonzero()[0], crop.any(0).nonzero()[0]
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else (0, 0, 0, 0)


def tighten(crops: list[np.ndarray], crop_boxes: Tensor, which: Iterable[int]) -> tuple[list[np.ndarray], Tensor]:
    """Shrink crops to their set pixels; one without any becomes the empty one, crop_boxes 0, 0, 0, 0.

    Args:
        crops: [h, w] each.
        crop_boxes: int64 [N, 4].
        which: numbers of those that may have empty rows or columns at a border.
    """
    crops, places = list(crops), crop_boxes.tolist()
    for i in which:
        x0, y0, x1, y1 = used_window(crops[i])
        crops[i] = crops[i][y0:y1, x0:x1]
        left, top = places[i][:2] if x1 else (0, 0)
        places[i] = [left + x0, top + y0, left + x1, top + y1]
    return crops, torch.tensor(places, dtype=torch.long).reshape(-1, 4)


def used_extents(columns: Tensor, rows: Tensor) -> Tensor:
    """Extents [N, 4], on the CPU, from which columns [N, W] and rows [N, H] are used; zeros where none is."""
    sides = []
    for used in (columns, rows):
        used = used.to(torch.uint8)
        # argmax gives the first of the largest.
        sides += [used.argmax(1), (used.shape[1] - used.flip(1).argmax(1)) * used.amax(1)]
    x0, x1, y0, y1 = sides
    return torch.stack([x0, y0, x1, y1], 1).cpu()


def cut_stack(stack: Tensor, crop_boxes: Tensor) -> Tensor:
    """The crop_boxes' pixels of a stack [N, H, W], one crop after the other."""
    pairs = zip(stack, crop_boxes.tolist(), strict=True)
    return join((image[y0:y1, x0:x1] for image, (x0, y0, x1, y1) in pairs), stack)
