"""Crops that lie one after the other in a flat tensor.

Legend: N objects, P bytes of all crops together, R rows of all crops together.
``extents`` is int64 [N, 4] on the CPU: x0, y0, x1, y1 with x1, y1 exclusive. Crop i is row-major [y1 - y0, x1 - x0].

Most operations take views of the crops and concatenate them: measured, a few microseconds an object are less than
what index arithmetic with 8 bytes of int64 for each byte of mask costs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def heights_widths(extents: Tensor) -> tuple[Tensor, Tensor]:
    """Heights [N] and widths [N] of the crops."""
    sides = extents[:, 2:] - extents[:, :2]
    return sides[:, 1], sides[:, 0]


def offsets_of(extents: Tensor) -> Tensor:
    """[N + 1]: where each crop starts, and where the last one ends."""
    heights, widths = heights_widths(extents)
    return torch.cat([extents.new_zeros(1), (heights * widths).cumsum(0)])


def split(bits: Tensor, extents: Tensor) -> list[Tensor]:
    """Views of the crops, [h, w] each."""
    heights, widths = heights_widths(extents)
    pieces = bits.split((heights * widths).tolist()) if len(extents) else ()
    return [piece.view(h, w) for piece, h, w in zip(pieces, heights.tolist(), widths.tolist(), strict=True)]


def join(crops: Iterable[Tensor], like: Tensor) -> Tensor:
    """Crops one after the other, flat; ``like`` says of which type and device nothing is."""
    pieces = [crop.reshape(-1) for crop in crops]
    return torch.cat(pieces) if pieces else like.new_zeros(0)


def take_windows(bits: Tensor, extents: Tensor, windows: Tensor) -> Tensor:
    """The part of each crop within its window [N, 4] (canvas coordinates, inside the extents, or of no area)."""
    if torch.equal(extents, windows):
        return bits
    local = (windows - extents[:, [0, 1, 0, 1]]).tolist()
    pairs = zip(split(bits, extents), local, strict=True)
    return join((crop[y0:y1, x0:x1] for crop, (x0, y0, x1, y1) in pairs), bits)


def tighten(bits: Tensor, extents: Tensor) -> tuple[Tensor, Tensor]:
    """Shrink crops to their set pixels; a crop without any becomes the empty one, extents 0, 0, 0, 0."""
    if bits.numel() == 0:
        return bits, torch.zeros_like(extents)
    heights, widths = heights_widths(extents)
    objects = torch.repeat_interleave(torch.arange(len(extents)), heights)  # [R]
    numbers = torch.arange(len(objects)) - (heights.cumsum(0) - heights)[objects]  # [R], within the crop
    starts = offsets_of(extents)[objects] + numbers * widths[objects]
    # The first and last set pixel of each row, looked up among all set pixels.
    found = bits.nonzero().squeeze(1)
    bounds = torch.stack([starts, starts + widths[objects]]).to(bits.device)
    ranks = torch.searchsorted(found, bounds).cpu()
    full = (ranks[1] > ranks[0]).nonzero().squeeze(1)
    found = found[ranks[:, full].sub(torch.tensor([[0], [1]])).to(bits.device)].cpu()
    objects, numbers = objects[full], numbers[full]
    lows = torch.stack([found[0] - starts[full], numbers], 1) + extents[objects, :2]
    highs = torch.stack([found[1] - starts[full], numbers], 1) + extents[objects, :2] + 1
    slots = objects[:, None].expand(-1, 2)
    empty = torch.zeros(len(extents), 2, dtype=torch.long)
    low = empty.scatter_reduce(0, slots, lows, "amin", include_self=False)
    tight = torch.cat([low, empty.scatter_reduce(0, slots, highs, "amax", include_self=False)], 1)
    windows = torch.where((tight[:, 2:] > 0).all(1)[:, None], tight, extents[:, [0, 1, 0, 1]])
    return take_windows(bits, extents, windows), tight


def used_extents(columns: Tensor, rows: Tensor) -> Tensor:
    """Extents [N, 4], on the CPU, from which columns [N, W] and rows [N, H] are used; zeros where none is."""
    sides = []
    for used in (columns, rows):
        used = used.to(torch.uint8)
        # argmax gives the first of the largest.
        sides += [used.argmax(1), (used.shape[1] - used.flip(1).argmax(1)) * used.amax(1)]
    x0, x1, y0, y1 = sides
    return torch.stack([x0, y0, x1, y1], 1).cpu()


def cut_stack(stack: Tensor, extents: Tensor) -> Tensor:
    """The extents' pixels of a stack [N, H, W], one crop after the other."""
    pairs = zip(stack, extents.tolist(), strict=True)
    return join((image[y0:y1, x0:x1] for image, (x0, y0, x1, y1) in pairs), stack)
