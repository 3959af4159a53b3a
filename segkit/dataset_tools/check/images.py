"""Checks image files: missing, unreadable, of another size, equal, unlike the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from segkit.data.formats import Dataset
from segkit.dataset_tools.check.image_header import read_header
from segkit.dataset_tools.check.report import Fault
from segkit.dataset_tools.pixel_digest import pixel_digest
from segkit.utils.errors import MissingPackage, SegkitError

MAX_DECODED = 1 << 27  # pixels; of larger images only the header is read


@dataclass
class ImageFacts:
    """What is known of an image after its file and objects were checked.

    Attributes:
        index: in its split.
        readable: whether the file could be read.
        consistent: whether the annotations can be read, and fit the size of the image.
        repeats: kind of the fault if another image has the same file or pixels; else empty.
        digest: hash of the decoded pixels; empty if they were not read.
        channels, bits: of the file; 0 if unknown.
        objects, crowds: numbers of objects and of crowd or ignore regions.
        classes: number of objects of each label.
        at_border: number of objects that touch the border.
        expected_at_border: number of these for objects anywhere.
        one_of_many_parts: whether each class has a single object, and one of them has many parts.
    """

    index: int
    readable: bool = True
    consistent: bool = True
    repeats: str = ""
    digest: bytes = b""
    channels: int = 0
    bits: int = 0
    objects: int = 0
    crowds: int = 0
    classes: dict[int, int] | None = None
    at_border: int = 0
    expected_at_border: float = 0.0
    one_of_many_parts: bool = False


LocalFault = tuple[str, str, int | None, str]  # kind, message, object, place


def check_image(
    dataset: Dataset, index: int, file: str | None, stated_size: tuple[int, int] | None, pixels: bool
) -> tuple[ImageFacts, list[LocalFault]]:
    """Checks the file of an image.

    Args:
        dataset: its reader reads the file.
        index: of the image.
        file: path; None: the data set makes its images.
        stated_size: (H, W) of the annotations; None: they state none.
        pixels: whether to decode the image; else its header is read.
    """
    facts, faults = ImageFacts(index), list[LocalFault]()
    if file is None:
        if pixels:
            facts.digest = pixel_digest(dataset.load(index).image)
        return facts, faults
    if not os.path.exists(file):
        facts.readable = False
        return facts, [("missing_image", "there is no such file", None, file)]
    header = read_header(file)
    if header is not None:
        facts.channels, facts.bits = header.channels, header.bits
        if header.orientation not in (0, 1):
            faults.append(("orientation_tag", f"its orientation tag is {header.orientation}", None, file))
    try:
        # An image of other than one or three channels is sound: data.channels, or all, takes it.
        reader = dataset.reader if dataset.reader.channels is not None else replace(dataset.reader, channels="any")
        size = reader.size(file)
        if pixels and size[0] * size[1] > MAX_DECODED:
            faults.append(("not_decoded", f"it has {size[1]} x {size[0]} pixels", None, file))
        elif pixels:
            image = reader.read(file)
            facts.digest, size = pixel_digest(image), (int(image.shape[1]), int(image.shape[2]))
            facts.channels = facts.channels or int(image.shape[0])
    except SegkitError as error:
        facts.readable = False
        kind = "missing_package" if isinstance(error, MissingPackage) else "unreadable_image"
        return facts, [*faults, (kind, str(error).removeprefix(f"{file}: "), None, file)]
    if stated_size is not None and tuple(size) != tuple(stated_size):
        facts.consistent = False
        turned = ", width and height exchanged" if tuple(size) == tuple(stated_size)[::-1] else ""
        text = f"it is {size[1]} x {size[0]} pixels; the annotations state {stated_size[1]} x {stated_size[0]}{turned}"
        faults.append(("wrong_size", text, None, file))
    return facts, faults


def repeated_images(
    facts: Mapping[str, Sequence[ImageFacts]],
    names: Mapping[str, Sequence[str]],
    files: Mapping[str, Sequence[str | None]],
    image_ids: Mapping[str, Sequence[int]],
) -> list[Fault]:
    """Images of one file or with equal pixels: within a split, and in two splits.

    Args:
        facts: of each split, by its name; the splits in the order in which images are kept.
        names: of the images of each split, by index.
        files: of the images of each split, by index; None for images without a file.
        image_ids: of the images of each split, by index.
    """
    faults = []
    first: dict[object, tuple[str, int]] = {}
    for split, images in facts.items():
        for image in images:
            path = files[split][image.index]
            keys: list[object] = [image.digest] if image.digest else []
            keys += [path] if path is not None and image.readable else []
            found = next((first[key] for key in keys if key in first), None)
            if found is not None:
                other_split, other = found
                image.repeats = "duplicate_image" if other_split == split else "image_in_two_splits"
                where = "" if other_split == split else f" in {other_split}"
                text = f"the same pixels as {names[other_split][other]}{where}"
                if path is not None and path == files[other_split][other]:
                    text = f"the same file as the image with the id {image_ids[other_split][other]}{where}"
                faults.append(Fault(image.repeats, text, split, names[split][image.index], None, path or ""))
            for key in keys:
                first.setdefault(key, (split, image.index))
    return faults


def unlike_images(split: str, facts: Sequence[ImageFacts], names: Sequence[str]) -> list[Fault]:
    """Images with another number of channels or bits than most of a split."""
    faults = []
    for kind, attribute in (("mixed_channels", "channels"), ("mixed_bits", "bits")):
        counts = Counter(getattr(image, attribute) for image in facts if getattr(image, attribute))
        if len(counts) < 2:
            continue
        (usual, number), *_ = counts.most_common(1)
        for image in facts:
            value = getattr(image, attribute)
            if value and value != usual:
                text = f"{value} {attribute}; {number:,} of {len(facts):,} images have {usual}"
                faults.append(Fault(kind, text, split, names[image.index]))
    return faults
