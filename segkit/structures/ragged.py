"""Operations on crops of different sizes, stored one after the other in a flat tensor.

Legend: N objects, P bytes of all crops together.
``crop_boxes`` is int64 [N, 4] on the CPU: x0, y0, x1, y1 with x1, y1 exclusive. Crop i is row-major [y1 - y0, x1 - x0].

Most operations take views of the crops and concatenate them. This costs a few microseconds for each object, measured
less than index arithmetic with 8 bytes of int64 for each byte of mask. On the CPU the views are numpy's, which slices
and copies small arrays several times as fast as torch.
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
    """Index [N + 1] of each crop's first byte, and the end of the last crop."""
    heights, widths = heights_widths(crop_boxes)
    return torch.cat([crop_boxes.new_zeros(1), (heights * widths).cumsum(0)])


def split(bits: Tensor, crop_boxes: Tensor) -> list[Tensor]:
    """Views of the crops, [h, w] each."""
    heights, widths = heights_widths(crop_boxes)
    crops = bits.split((heights * widths).tolist()) if len(crop_boxes) else ()
    return [crop.view(h, w) for crop, h, w in zip(crops, heights.tolist(), widths.tolist(), strict=True)]


def join(crops: Iterable[Tensor], like: Tensor) -> Tensor:
    """Concatenates crops to a flat tensor.

    Args:
        crops: [h, w] each.
        like: dtype and device of the result if there are no crops.
    """
    flat = [crop.reshape(-1) for crop in crops]
    return torch.cat(flat) if flat else like.new_zeros(0)


def arrays(bits: Tensor, crop_boxes: Tensor) -> list[np.ndarray]:
    """As ``split``, as numpy views, of a copy if the bits are on a GPU."""
    heights, widths = heights_widths(crop_boxes)
    flat, ends = bits.cpu().numpy(), offsets_of(crop_boxes).tolist()
    sides = zip(ends, ends[1:], heights.tolist(), widths.tolist(), strict=False)
    return [flat[start:end].reshape(h, w) for start, end, h, w in sides]


def pack(crops: Iterable[np.ndarray], device: torch.device | str = "cpu") -> Tensor:
    """Concatenates uint8 or bool crops to a flat uint8 tensor on a device."""
    flattened = [crop.reshape(-1) for crop in crops]
    flat = np.concatenate(flattened) if flattened else np.zeros(0, np.uint8)
    return torch.from_numpy(flat.view(np.uint8)).to(device)


def used_window(crop: np.ndarray) -> tuple[int, int, int, int]:
    """Box (x0, y0, x1, y1) of the set pixels in a crop; zeros if there are none."""
    rows, columns = crop.any(1).nonzero()[0], crop.any(0).nonzero()[0]
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else (0, 0, 0, 0)


def tighten(crops: list[np.ndarray], crop_boxes: Tensor, which: Iterable[int]) -> tuple[list[np.ndarray], Tensor]:
    """Shrinks crops to their set pixels; the crop box of an empty one becomes 0, 0, 0, 0.

    Args:
        crops: [h, w] each.
        crop_boxes: int64 [N, 4].
        which: indices of the crops that may have empty rows or columns at a border.
    """
    crops, boxes = list(crops), crop_boxes.tolist()
    for i in which:
        x0, y0, x1, y1 = used_window(crops[i])
        crops[i] = crops[i][y0:y1, x0:x1]
        left, top = boxes[i][:2] if x1 else (0, 0)
        boxes[i] = [left + x0, top + y0, left + x1, top + y1]
    return crops, torch.tensor(boxes, dtype=torch.long).reshape(-1, 4)


def used_boxes(columns: Tensor, rows: Tensor) -> Tensor:
    """Boxes [N, 4], on the CPU, of the used columns [N, W] and rows [N, H]."""
    sides = []
    for used in (columns, rows):
        used = used.to(torch.uint8)
        # argmax returns the first of equal values.
        sides += [used.argmax(1), (used.shape[1] - used.flip(1).argmax(1)) * used.amax(1)]
    x0, x1, y0, y1 = sides
    return torch.stack([x0, y0, x1, y1], 1).cpu()


def cut_stack(stack: Tensor, crop_boxes: Tensor) -> Tensor:
    """The pixels of a stack [N, H, W] in their crop boxes, flat."""
    pairs = zip(stack, crop_boxes.tolist(), strict=True)
    return join((image[y0:y1, x0:x1] for image, (x0, y0, x1, y1) in pairs), stack)
