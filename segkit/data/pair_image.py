"""Converts the image of a torchvision-style ``(image, target)`` pair to a model's tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader
from segkit.utils.images.stored_image import Extra, StoredImage

EXPECTED = (
    "expected a tensor [3, H, W] or [1, H, W], an array [H, W, 3] or [H, W] (uint8, or float in 0..1), or a PIL image"
)

SCALED = (
    "divide by the largest value of a pixel, 65535 for 16 bits, which keeps 8; data.channels=[0, 1, 2] keeps all bits"
)


def pair_image(image: Any, reader: ImageReader | None = None) -> Tensor:
    """The image of a pair: uint8 [3, H, W], RGB, or the channels that ``reader`` chooses.

    A PIL image's orientation tag is not applied: the boxes belong to the pixels as the data set returns them. Grey images
    get three equal channels.

    Args:
        image: a tensor or tv_tensor, channels first; a numpy array, channels last; or a PIL image of 8 bits a channel.
            uint8, or float in 0..1, which is multiplied by 255 and rounded.
        reader: if it has chosen channels (``data.channels``), an array or tensor has any number of channels of any integer or
            float type. The reader picks channels and scales them as those of a file.
    Raises:
        SegkitError: another type, shape, dtype or range.
    """
    if reader is not None and reader.channels is not None:
        return _chosen_channels(image, reader)
    if isinstance(image, Tensor):
        pixels, axis = image.detach().cpu().as_subclass(Tensor), 0
    elif isinstance(image, np.ndarray):
        pixels, axis = _from_array(image), 2
    elif any(cls.__module__.startswith("PIL.") for cls in type(image).__mro__):
        pixels, axis = _from_pil(image), 2
    else:
        raise SegkitError(f"the image is a {type(image).__name__}; {EXPECTED}", key="image", value=type(image).__name__)
    shape = list(pixels.shape)
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[axis] not in (1, 3)):
        turned = len(shape) == 3 and shape[2 - axis] in (1, 3)
        hint = f"; its channels are {'last' if axis == 0 else 'first'}" if turned else ""
        if len(shape) == 3 and shape[axis] == 4:
            hint = "; take its first three channels: " + ("image[:3]" if axis == 0 else "image[..., :3]")
        raise SegkitError(f"the image has the shape {shape}; {EXPECTED}{hint}", key="image", value=tuple(shape))
    pixels = _to_uint8(pixels)
    if len(shape) == 2:
        pixels = pixels[None]
    elif axis == 2:
        pixels = pixels.permute(2, 0, 1)
    return (pixels.expand(3, -1, -1) if pixels.shape[0] == 1 else pixels).contiguous()


def _chosen_channels(image: Any, reader: ImageReader) -> Tensor:
    """Picks and scales the channels of an image as of a file's."""
    if isinstance(image, Tensor):
        plain = image.detach().cpu().as_subclass(Tensor)
        pixels = np.moveaxis(plain.numpy(), 0, -1) if plain.dim() == 3 else plain.numpy()
    else:
        pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or pixels.size == 0 or pixels.dtype.kind not in "iuf":
        raise SegkitError(
            f"the image is {pixels.dtype} of the shape {list(pixels.shape)}; expected a tensor [C, H, W] or an array "
            "[H, W, C] of integers or floats",
            key="image",
            value=tuple(pixels.shape),
        )
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    color = "rgb" if pixels.shape[2] == 3 else "grey"
    further: tuple[Extra, ...] = () if color == "rgb" else ("unknown",) * (pixels.shape[2] - 1)
    stored = StoredImage(pixels.copy(), color, pixels.dtype.itemsize * 8, extra=further)
    return reader.convert(stored, "the image").contiguous()


def _from_array(image: np.ndarray) -> Tensor:
    try:
        return torch.from_numpy(np.array(image))  # a copy, because the data set may reuse its array
    except TypeError as error:
        raise SegkitError(
            f"the image is an array of {image.dtype}; {EXPECTED}", key="image", value=image.dtype
        ) from error


def _from_pil(image: Any) -> Tensor:
    if image.mode.startswith(("I", "F")):
        raise SegkitError(
            f"the image is a PIL image of mode {image.mode}, which has more than 8 bits a channel; give floats in 0..1: "
            f"{SCALED}",
            key="image", value=image.mode,
        )  # fmt: skip
    return torch.from_numpy(np.array(image.convert("RGB")))


def _to_uint8(pixels: Tensor) -> Tensor:
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise SegkitError(
            f"the image is {pixels.dtype}; expected uint8, or float in 0..1: {SCALED}", key="image", value=pixels.dtype
        )
    low, high = pixels.aminmax()
    if not (low >= 0 and high <= 1):  # NaN too
        hint = (
            "divide by 255"
            if low >= 0 and high <= 255
            else "the model subtracts mean and deviation by itself: no Normalize is needed"
        )
        raise SegkitError(
            f"the image is {pixels.dtype} with values from {low:.4g} to {high:.4g}; floats are in 0..1 ({hint})",
            key="image", value=float(high),
        )  # fmt: skip
    return (pixels * 255).round().to(torch.uint8)
