"""Finds images that are copies of each other: exact, scaled, compressed again, brightened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.data.formats import Dataset
from segkit.data.formats.image_names import image_names
from segkit.dataset_tools.pixel_digest import pixel_digest
from segkit.dataset_tools.unreadable import UnreadableImages
from segkit.utils.images import LazyImage
from segkit.utils.images.overview import overview, windows
from segkit.utils.progress import progress

HASH_SIDE = 8  # a hash has 8 x 8 bits, each the sign of a difference between neighbours
MAX_DISTANCE = 10  # bits that may differ between candidates
THUMBNAIL = 32
REDUCED = 1024  # pixels of a side to which a large image is reduced first
CORRELATION = 0.98  # of two thumbnails of the same picture
FLAT = 1.0  # standard deviation of a thumbnail without a picture, in grey levels of 255
CHUNK = 512


@dataclass(frozen=True)
class ImagePrint:
    """What is kept of an image to compare it with others.

    Attributes:
        digest: of the exact pixels and the size.
        bits: bool [64], from the differences between neighbours on a thumbnail.
        thumbnail: float32 [1024] grey, of mean 0 and norm 1; zeros for a flat image.
        aspect: width by height.
    """

    digest: bytes
    bits: np.ndarray
    thumbnail: np.ndarray
    aspect: float


def image_print(image: Tensor | LazyImage) -> ImagePrint:
    """The print of an image [C, H, W]; a large one is read by window."""
    if isinstance(image, Tensor):
        pixels = image.float()
    else:
        pixels = overview(image, (min(REDUCED, image.size[0]), min(REDUCED, image.size[1])))
    grey = pixels.mean(0)[None, None]
    small = F.interpolate(grey, (HASH_SIDE, HASH_SIDE + 1), mode="area")[0, 0]
    thumbnail = F.interpolate(grey, (THUMBNAIL, THUMBNAIL), mode="area").reshape(-1)
    full = torch.iinfo(image.dtype).max if not image.dtype.is_floating_point else 1.0
    centred = thumbnail - thumbnail.mean()
    is_flat = bool(thumbnail.std() / full * 255 < FLAT)
    unit = torch.zeros_like(centred) if is_flat else centred / centred.norm()
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1).numpy()
    return ImagePrint(_digest(image), bits, unit.numpy(), image.shape[2] / image.shape[1])


def _digest(image: Tensor | LazyImage) -> bytes:
    """Of the exact pixels and the size; of a large image by window."""
    if isinstance(image, Tensor):
        return pixel_digest(image)
    digest = hashlib.sha256(repr((tuple(image.shape), str(image.dtype))).encode())
    for window in windows(image):
        digest.update(pixel_digest(image.read(window)))
    return digest.digest()


def image_prints(dataset: Dataset, unreadable: UnreadableImages) -> list[ImagePrint | None]:
    """The print of each image; None for those that cannot be read."""
    names, files = image_names(dataset), dataset.image_files()
    is_own = files is not None and len(set(files)) == len(files)  # else an image is a part of its file
    prints: list[ImagePrint | None] = []
    for i in progress(range(len(dataset)), len(dataset), "images compared"):
        found = None
        with unreadable.reading(names[i]):
            if files is not None and is_own:
                lazy = dataset.reader.open_if_large(files[i])
                found = image_print(dataset.reader.read(files[i]) if lazy is None else lazy)
            else:
                found = image_print(dataset.open(i).image)
        prints.append(found)
    return prints


def duplicate_pairs(prints: Sequence[ImagePrint]) -> list[tuple[int, int]]:
    """Pairs of indices of images that are the same picture.

    Images with equal pixels always are. Others are compared by a hash, then by their thumbnails: their correlation is 0.98
    or more, and their shapes agree to 2%.
    """
    first: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    for i, found in enumerate(prints):
        if found.digest in first:
            pairs.append((first[found.digest], i))
        else:
            first[found.digest] = i
    return pairs + list(_near(prints, sorted(first.values())))


def _near(prints: Sequence[ImagePrint], indices: list[int]) -> Iterator[tuple[int, int]]:
    if len(indices) < 2:
        return
    bits = np.stack([prints[i].bits for i in indices]).astype(np.float32) * 2 - 1
    aspects = np.array([prints[i].aspect for i in indices])
    thumbnails = np.stack([prints[i].thumbnail for i in indices])
    for start in range(0, len(indices), CHUNK):
        distance = (bits.shape[1] - bits[start : start + CHUNK] @ bits.T) / 2  # number of bits that differ
        rows, columns = np.nonzero(distance <= MAX_DISTANCE)
        rows = rows + start
        later = rows < columns
        rows, columns = rows[later], columns[later]
        alike = (thumbnails[rows] * thumbnails[columns]).sum(1) >= CORRELATION
        alike &= abs(aspects[rows] / aspects[columns] - 1) < 0.02
        yield from (
            (indices[a], indices[b]) for a, b in zip(rows[alike].tolist(), columns[alike].tolist(), strict=True)
        )
