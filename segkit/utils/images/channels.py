"""The channels of an image file, by number and name, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images.stored_image import (
    COLOR_CHANNELS,
    StoredImage,
    convert_colors,
    grey_or_rgb,
    is_grey_or_rgb,
    upright,
)

# Numbers from 0 or names, in the order of the model's channels; all of them; None: grey or RGB; any: grey or RGB, and all of
# an image that is neither, for tools that look at data before anything is chosen.
ChannelChoice = Sequence[int | str] | Literal["all", "any"] | None
KEY = "data.channels"
RGB = ("red", "green", "blue")
EXTRA_NAMES = {"premultiplied": "alpha", "unknown": "", "varying": ""}


@dataclass(frozen=True)
class ChannelImage:
    """The chosen channels of an image, with the file's own numbers.

    Attributes:
        pixels: ``[H, W, C]``, upright. Of more than 8 bits, a view of ``[C, H, W]``: floats are counted, scaled and resized
            in two thirds of the time in that layout, uint8 in channels last.
        bits: bits of a sample, at most those of the array's type.
        joint: whether the channels are the colours of one picture, which share one scale of intensities.
    """

    pixels: np.ndarray
    bits: int
    joint: bool

    @property
    def is_8_bit(self) -> bool:
        """Whether the samples are unsigned and have at most 8 bits."""
        return self.pixels.dtype.kind == "u" and self.bits <= 8


def choose_channels(image: StoredImage, channels: ChannelChoice, name: str) -> ChannelImage:
    """Picks and orders the channels of an image.

    The channels of a file are its colours (grey; or red, green and blue, to which palettes and CMYK are converted), then
    all further ones, alpha too, in the file's order.

    Args:
        image: the file's content.
        channels: see ``ChannelChoice``. None: one grey channel or three of RGB, without alpha.
        name: the file, for messages.
    Raises:
        SegkitError: the image has no such channel; with None: its channels are neither grey nor RGB.
    """
    if channels == "any":
        channels = None if is_grey_or_rgb(image) else "all"
    if channels is None:
        pixels, bits = grey_or_rgb(image, name)
        return _laid_out(ChannelImage(upright(pixels, image.orientation), bits, joint=True))
    pixels, bits = _all_channels(image, name)
    count = pixels.shape[2]
    if channels != "all":
        names = channel_names(image, count)
        indices = [_find(choice, names, name) for choice in channels]
        if indices != list(range(count)):
            pixels = pixels[:, :, indices]
    return _laid_out(ChannelImage(upright(pixels, image.orientation), bits, joint=False))


def _laid_out(image: ChannelImage) -> ChannelImage:
    """The image with the layout that suits its type."""
    if image.is_8_bit:
        return image
    planar = np.ascontiguousarray(np.moveaxis(image.pixels, 2, 0))
    return ChannelImage(np.moveaxis(planar, 0, 2), image.bits, image.joint)


def channel_names(image: StoredImage, count: int) -> list[str]:
    """Name of each channel: the file's own, else that of its colour; empty if it has none."""
    if len(image.channel_names) == count:
        return list(image.channel_names)
    color = [*RGB] if image.color in ("rgb", "palette", "cmyk") else ["grey"] if count == 1 else []
    names = [*color, *[""] * (count - len(color) - len(image.extra)), *image.extra][:count]
    return [EXTRA_NAMES.get(name, name) for name in names]


def _all_channels(image: StoredImage, name: str) -> tuple[np.ndarray, int]:
    """Colours and further channels ``[H, W, C]``, and the bits of a sample."""
    pixels = image.pixels if image.pixels.ndim == 3 else image.pixels[:, :, None]
    if image.color not in COLOR_CHANNELS or (image.color == "rgb" and "premultiplied" not in image.extra):
        return pixels, image.bits
    if image.color == "grey" and "premultiplied" not in image.extra:
        return pixels, image.bits
    color, bits = convert_colors(image, name)
    further = pixels[:, :, COLOR_CHANNELS[image.color] :]
    return (np.concatenate([color, further], axis=2) if further.shape[2] else color), bits


def _find(choice: int | str, names: Sequence[str], name: str) -> int:
    """The index of a channel by its number or name; names are compared exactly, then without case."""
    if isinstance(choice, int):
        if 0 <= choice < len(names):
            return choice
        hint = f"; the last one is {len(names) - 1}" if choice >= len(names) else "; they are numbered from 0"
    else:
        for found in (names, [n.casefold() for n in names]):
            spelling = choice if found is names else choice.casefold()
            if found.count(spelling) == 1:
                return found.index(spelling)
        hint = did_you_mean(choice, [n for n in names if n])
        if choice in names:
            hint = "; several have this name: give the number"
    listed = ", ".join(f"{i} ({n})" if n else str(i) for i, n in enumerate(names))
    raise SegkitError(
        f"{name}: it has no channel {choice!r} ({KEY}); its channels are {listed}{hint}",
        key=KEY,
        value=choice,
        choices=[n for n in names if n],
    )
