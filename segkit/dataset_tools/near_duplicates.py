"""Finds images that are copies of each other: exact, scaled, compressed again, brightened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.data.formats import Dataset
from segkit.dataset_tools.pixel_digest import pixel_digest
from segkit.dataset_tools.progress import progress

HASH_SIDE = 8  # a hash has 8 x 8 bits, each the sign of a difference between neighbours
MAX_DISTANCE = 10  # bits that may differ between candidates
THUMBNAIL = 32
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


def image_print(image: Tensor) -> ImagePrint:
    """The print of an image [C, H, W]."""
    grey = image.float().mean(0)[None, None]
    small = F.interpolate(grey, (HASH_SIDE, HASH_SIDE + 1), mode="area")[0, 0]
    thumbnail = F.interpolate(grey, (THUMBNAIL, THUMBNAIL), mode="area").reshape(-1)
    full = torch.iinfo(image.dtype).max if not image.is_floating_point() else 1.0
    centred = thumbnail - thumbnail.mean()
    is_flat = bool(thumbnail.std() / full * 255 < FLAT)
    unit = torch.zeros_like(centred) if is_flat else centred / centred.norm()
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1).numpy()
    return ImagePrint(pixel_digest(image), bits, unit.numpy(), image.shape[2] / image.shape[1])


def duplicate_pairs(dataset: Dataset) -> list[tuple[int, int]]:
    """Pairs of indices of images that are the same picture.

    Images with equal pixels always are. Others are compared by a hash, then by their thumbnails: their correlation is 0.98
    or more, and their shapes agree to 2%.
    """
    files = dataset.image_files()
    is_own = files is not None and len(set(files)) == len(files)  # else an image is a part of its file
    prints: list[ImagePrint] = []
    for i in progress(range(len(dataset)), len(dataset), "images compared"):
        image = dataset.reader.read(files[i]) if files is not None and is_own else dataset.load(i).image
        prints.append(image_print(image))
    first: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    for i, found in enumerate(prints):
        if found.digest in first:
            pairs.append((first[found.digest], i))
        else:
            first[found.digest] = i
    return pairs + list(_near(prints, sorted(first.values())))


def _near(prints: list[ImagePrint], indices: list[int]) -> Iterator[tuple[int, int]]:
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
