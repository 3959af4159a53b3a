"""RLE dicts, as COCO's files have them: decoded, or checked and passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from segkit.structures.rle import check_counts, decode_counts, encode_rle, parse_strings
from segkit.utils.errors import SegkitError


def decode_rle(
    rles: Sequence[Mapping[str, Any]], size: tuple[int, int] | None
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Crops (bits, crop_boxes) and image_size from RLE dicts; see ``InstanceMasks.from_rle``."""
    if size is None:
        if len(rles) == 0:
            raise SegkitError("from_rle: an empty list needs the argument size (H, W)")
        size = tuple(rles[0].get("size", (0, 0)))
    image_size = (int(size[0]), int(size[1]))
    counts, lengths = _read_counts(rles, image_size)
    return *decode_counts(counts, lengths, np.arange(len(rles)), len(rles), image_size), image_size


def compressed_rles(rles: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> list[dict[str, Any]]:
    """RLE dicts with str counts of any valid ones, without decoding them.

    An RLE with runs of no pixels, which the compressed form may hold, is encoded again without them.

    Args:
        rles: ``{"size": [H, W], "counts": ...}``, compressed or not.
        size: (H, W) that they must have.
    Raises:
        SegkitError: an RLE is malformed, of another size, or its counts do not add up to H x W.
    """
    size = (int(size[0]), int(size[1]))
    counts, lengths = _read_counts(rles, size)
    starts = np.append(0, lengths.cumsum())
    check_counts(counts, lengths, np.arange(len(rles)), size)
    zeros = np.flatnonzero(counts == 0)
    owners = np.searchsorted(starts, zeros, side="right") - 1
    recoded = set(owners[zeros > starts[owners]].tolist())
    found = []
    for i, rle in enumerate(rles):
        if i in recoded or not isinstance(rle["counts"], str | bytes):
            own = slice(starts[i], starts[i + 1])
            bits, boxes = decode_counts(counts[own], lengths[i : i + 1], np.zeros(1, np.int64), 1, size)
            found += encode_rle(bits, boxes, size)
        else:
            string = rle["counts"] if isinstance(rle["counts"], str) else rle["counts"].decode("ascii")
            found.append({"size": list(size), "counts": string})
    return found


def _read_counts(rles: Sequence[Mapping[str, Any]], image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Counts [C] of RLE dicts, one after the other, and how many each has [N]; their keys and sizes are checked."""
    for i, rle in enumerate(rles):
        if not isinstance(rle, Mapping):
            raise SegkitError(f"objects[{i}]: expected an RLE with 'size' and 'counts', got {rle!r:.60}")
        if not {"size", "counts"} <= set(rle):
            raise SegkitError(
                f"objects[{i}]: an RLE has 'size' and 'counts'; this one has {', '.join(rle) or 'nothing'}"
            )
        if not isinstance(rle["size"], list | tuple) or tuple(rle["size"]) != image_size:
            raise SegkitError(f"objects[{i}]: RLE of size {_shown(rle['size'])}, expected {list(image_size)}")
    packed = [i for i, rle in enumerate(rles) if isinstance(rle["counts"], str | bytes)]
    counts, lengths = parse_strings([rles[i]["counts"] for i in packed], packed)
    if len(packed) < len(rles):
        parsed = iter(np.split(counts, lengths.cumsum()[:-1]))
        given = [rle["counts"] for rle in rles]
        parts = [
            next(parsed) if isinstance(one, str | bytes) else _whole_counts(one, f"objects[{i}]")
            for i, one in enumerate(given)
        ]
        counts, lengths = np.concatenate(parts), np.array([len(part) for part in parts])
    return counts, lengths


def _shown(size: Any) -> str:
    return str(list(size) if isinstance(size, list | tuple) else size)


def _whole_counts(counts: Any, where: str) -> np.ndarray:
    """Uncompressed counts as int64 [C]; whole floats are accepted."""
    try:
        values = np.asarray(counts)
    except ValueError:  # rows of different lengths
        values = np.empty((0, 0))
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iuf"):
        raise SegkitError(
            f"{where}: RLE counts are {str(counts)[:60]}; expected a string or a flat list of whole numbers"
        )
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        broken = values[values != np.rint(values)][0]
        raise SegkitError(f"{where}: RLE counts contain {broken:g}; expected whole numbers")
    return values.astype(np.int64)
