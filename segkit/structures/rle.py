"""COCO's run-length encoding (RLE), to and from masks in their boxes.

Runs follow the columns of the image: alternating counts of 0 and 1 pixels, of which the first may be 0. The compressed
form writes each count (from the fourth on, its difference to the count two before) in groups of 5 bits, least significant
first, as characters from "0" on. 32 is added if another group follows; the top bit of the last group is the sign.

All objects are processed at once in numpy. pycocotools is not used, because it decodes and encodes dense masks only:
pasting and encoding 300 objects in 1024 x 1024 takes 4.1 ms here and 1,420 ms with torchvision and pycocotools
(docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.structures.mask_geometry import transpose
from segkit.structures.runs import Runs, fill_runs, ragged_arange
from segkit.utils.errors import SegkitError

MAX_GROUPS = 7  # of a count: 35 bits are enough for any image, and sums of many counts stay below 63 bits


def encode_rle(bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Compressed RLE dicts (counts str) of masks, equal to pycocotools' of the dense masks."""
    columns = transpose(bits.cpu(), crop_boxes)[0].numpy()
    return encode_runs(find_runs(columns, crop_boxes.numpy(), image_size[0]), len(crop_boxes), image_size)


def encode_runs(runs: Runs, count: int, image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """Compressed RLE dicts (counts str) of ``count`` objects from their runs."""
    strings = write_strings(*count_runs(runs, count, image_size[0] * image_size[1]))
    return [{"size": list(image_size), "counts": string} for string in strings]


def find_runs(columns: np.ndarray, crop_boxes: np.ndarray, height: int) -> Runs:
    """The runs within the columns of crops.

    Args:
        columns: uint8 [P], the crops in column-major order.
        crop_boxes: [N, 4].
        height: of the image.
    """
    x0, y0, x1, y1 = crop_boxes.T
    heights = y1 - y0
    sizes = heights * (x1 - x0)
    offsets = sizes.cumsum() - sizes
    # ends - tall and ends are the indices at which columns start and end in the flat array.
    tall = np.repeat(heights, x1 - x0)
    ends = tall.cumsum()
    neighbour = np.zeros(len(columns) + 1, np.uint8)
    neighbour[1:] = columns
    neighbour[ends - tall] = 0
    starts = np.flatnonzero(columns > neighbour[:-1])
    neighbour[:-1] = columns
    neighbour[ends] = 0
    lengths = np.flatnonzero(columns > neighbour[1:]) + 1 - starts
    objects = np.searchsorted(offsets + sizes, starts, side="right")
    positions = starts - offsets[objects]
    column = positions // np.maximum(heights, 1)[objects]
    starts = (column + x0[objects]) * height + positions - column * heights[objects] + y0[objects]
    return Runs(objects, starts, starts + lengths)


def count_runs(runs: Runs, count: int, area: int) -> tuple[np.ndarray, np.ndarray]:
    """RLE counts [C] of all objects, one after the other, and the number of counts [N] of each.

    Args:
        runs: of ``count`` objects.
        count: N.
        area: pixels of the image.
    """
    objects, starts, ends = runs
    # A run that ends at the lower border continues in one that starts at the upper border of the next column.
    continues = (ends[:-1] == starts[1:]) & (objects[:-1] == objects[1:])
    first, last = np.ones(len(starts), bool), np.ones(len(starts), bool)
    first[1:] = last[:-1] = ~continues
    objects, starts, ends = objects[first], starts[first], ends[last]
    # For each run the zeros before it and the run; then the zeros after the last run, if there are any.
    number = np.bincount(objects, minlength=count)
    firsts = number.cumsum() - number
    before = np.append(0, ends[:-1])[: len(ends)]
    before[firsts[number > 0]] = 0
    tail = np.full(count, area)
    tail[number > 0] -= ends[(firsts + number - 1)[number > 0]]
    total = 2 * number + ((tail > 0) | (number == 0))
    slots = total.cumsum() - total
    counts = np.zeros(int(total.sum()), np.int64)
    index = slots[objects] + 2 * (np.arange(len(objects)) - firsts[objects])
    counts[index], counts[index + 1] = starts - before, ends - starts
    tailed = total > 2 * number
    counts[(slots + total - 1)[tailed]] = tail[tailed]
    return counts, total


def write_strings(counts: np.ndarray, lengths: np.ndarray) -> list[str]:
    """Compressed strings of the counts [C], of which object i has ``lengths[i]``."""
    position = ragged_arange(lengths)
    values = counts.copy()
    late = np.flatnonzero(position > 2)
    values[late] -= counts[late - 2]
    magnitude = np.where(values < 0, ~values, values)
    groups = np.ones(len(values), np.int64)
    while (more := magnitude >= 1 << (5 * groups - 1)).any():
        groups += more
    owner, group = np.repeat(np.arange(len(values)), groups), ragged_arange(groups)
    characters = (values[owner] >> (5 * group)) & 31
    characters += 48 + 32 * (group < groups[owner] - 1)
    text = characters.astype(np.uint8).tobytes().decode("ascii")
    ends = np.append(0, groups.cumsum())[np.append(0, lengths.cumsum())].tolist()
    return [text[start:end] for start, end in pairwise(ends)]


def parse_strings(
    strings: Sequence[str | bytes], indices: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Counts [C], and how many each compressed string has [N]: inverts ``write_strings``.

    Args:
        strings: of N objects.
        indices: of the objects, for the message; None: 0 to N - 1.
    Raises:
        SegkitError: a string is no compressed RLE.
    """
    raw = [_ascii(string) for string in strings]
    broken = _broken(raw)
    if broken.any():
        i = int(broken.argmax())
        raise SegkitError(f"objects[{i if indices is None else indices[i]}]: not a compressed RLE: {strings[i]!r:.60}")
    return _parse(raw)


def covered_pixels(strings: Sequence[str | bytes]) -> np.ndarray:
    """Number of pixels that each string's counts cover, int64 [N]; -1 for an invalid string."""
    raw = [_ascii(string) for string in strings]
    broken = _broken(raw)
    counts, lengths = _parse([b"" if bad else one for one, bad in zip(raw, broken.tolist(), strict=True)])
    owner = np.repeat(np.arange(len(raw)), lengths)
    broken[owner[counts < 0]] = True
    ends = lengths.cumsum()
    sums = np.append(0, counts.cumsum())
    return np.where(broken, -1, sums[ends] - sums[ends - lengths])


def _ascii(string: str | bytes) -> bytes:
    # Characters outside ASCII become bytes above 127, which are no valid codes.
    return string.encode("utf-8", "surrogatepass") if isinstance(string, str) else string


def _broken(raw: list[bytes]) -> np.ndarray:
    """Bool [N]: strings that are empty, incomplete, too large or have other characters."""
    codes = np.frombuffer(b"".join(raw), np.uint8)
    sizes = np.array([len(one) for one in raw], np.int64)
    owner = np.repeat(np.arange(len(raw)), sizes)
    more = (codes - np.uint8(48)) & 32 != 0
    broken = (sizes == 0) | np.append(more, True)[sizes.cumsum() - 1]
    broken[owner[(codes < 48) | (codes > 111)]] = True
    last = np.flatnonzero(~more)
    broken[owner[last[np.diff(last, prepend=-1) > MAX_GROUPS]]] = True
    return broken


def _parse(raw: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Counts [C] and their number [N] in each string; strings are valid or empty."""
    codes = np.frombuffer(b"".join(raw), np.uint8) - np.uint8(48)
    sizes = np.array([len(one) for one in raw], np.int64)
    last = np.flatnonzero((codes & 32) == 0)
    ends = last + 1
    first = np.append(0, ends[:-1])[: len(ends)]
    groups = ends - first
    # Most counts have one or two groups: all first groups are read together, then all second ones, and so on.
    values = (codes[first] & 31).astype(np.int64)
    longer, group = np.flatnonzero(groups > 1), 1
    while len(longer):
        values[longer] |= (codes[first[longer] + group] & 31).astype(np.int64) << (5 * group)
        group += 1
        longer = longer[groups[longer] > group]
    values -= np.where(codes[last] & 16, 1 << (5 * groups), 0)
    bounds = np.searchsorted(ends, sizes.cumsum(), side="right")
    lengths = np.diff(bounds, prepend=0)
    # From the fourth on, counts are differences to the count two before: two interleaved running sums of each object.
    position, starts = ragged_arange(lengths), bounds - lengths
    counts = values.copy()
    for parity in (0, 1):
        chain = (position % 2 == parity) & (position > 0)
        sums = np.append(0, np.where(chain, values, 0).cumsum())
        counts = np.where(chain, sums[1:] - np.repeat(sums[starts], lengths), counts)
    return counts, lengths


def decode_counts(
    counts: np.ndarray, lengths: np.ndarray, owners: np.ndarray, count: int, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Crops (bits, crop_boxes) of ``count`` objects from RLEs' counts.

    Args:
        counts: [C], all RLEs' counts one after the other.
        lengths: [L], number of counts of each RLE.
        owners: [L], index of each RLE's object; several RLEs of one object are united.
        count: number of objects.
        image_size: (H, W).
    """
    height = image_size[0]
    sums, bounds = check_counts(counts, lengths, owners, image_size)
    ones = np.flatnonzero((ragged_arange(lengths) % 2 == 1) & (counts > 0))
    rle = np.repeat(np.arange(len(lengths)), lengths)[ones]
    starts = sums[ones] - sums[bounds[rle]]
    ends = starts + counts[ones]
    # Split the runs at the ends of columns.
    first = starts // max(height, 1)
    splits = (ends - 1) // max(height, 1) - first + 1
    columns = np.repeat(first, splits) + ragged_arange(splits)
    starts = np.maximum(np.repeat(starts, splits) - columns * height, 0)
    ends = np.minimum(np.repeat(ends, splits) - columns * height, height)
    bits, crop_boxes = fill_runs(np.repeat(owners[rle], splits), columns, starts, ends, count)
    return transpose(torch.from_numpy(bits), torch.from_numpy(crop_boxes))


def check_counts(
    counts: np.ndarray, lengths: np.ndarray, owners: np.ndarray, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Running sums of the counts [C + 1], and where each RLE's begin and end among them [L + 1].

    Raises a SegkitError if a count is negative or an RLE's counts do not add up to the image. The arguments are those of
    ``decode_counts``.
    """
    area = image_size[0] * image_size[1]
    sums = np.append(0, counts.cumsum())
    bounds = np.append(0, lengths.cumsum())
    totals = sums[bounds[1:]] - sums[bounds[:-1]]
    if (counts < 0).any():
        i = int(np.repeat(owners, lengths)[counts < 0][0])
        raise SegkitError(f"objects[{i}]: RLE counts contain {counts[counts < 0][0]}, a negative number of pixels")
    wrong = totals != area
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise SegkitError(
            f"objects[{owners[i]}]: RLE counts add up to {totals[i]} pixels, but the size {list(image_size)} has {area}"
        )
    return sums, bounds
