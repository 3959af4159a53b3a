"""Conversion of paths, PIL images, arrays and tensors to uint8 RGB tensors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from PIL import Image


def is_single_image(source: Any) -> bool:
    """Whether an argument is one image, not an iterable of images."""
    return isinstance(source, (str, os.PathLike, np.ndarray, Tensor)) or _is_pil(source)


def to_rgb_tensor(source: Any) -> Tensor:
    """Converts one image to uint8 [3, H, W], RGB.

    Args:
        source: a path; a PIL image, whose current frame is turned upright by its orientation tag; a uint8 array
            [H, W, 3] RGB, [H, W, 4] (alpha is dropped), [H, W, 1] or [H, W] grey; a uint8 tensor [3, H, W] RGB,
            [4, H, W], [1, H, W] or [H, W].
    Raises:
        SegkitError: anything else; the message says what was expected.
    """
    if isinstance(source, (str, os.PathLike)):
        from segkit.utils.images import read_image
        from segkit.utils.paths import local_path

        return read_image(local_path(os.fspath(source), "image", kind="file"))
    if isinstance(source, Tensor):
        return _channels_first(_checked(source.detach().cpu(), source, "a tensor", channel_axis=0))
    if _is_pil(source):
        source = _pil_pixels(source)
    if isinstance(source, np.ndarray):
        # "W" copies read-only arrays (PIL's), for which torch would warn.
        tensor = torch.from_numpy(np.require(source, requirements=["C", "W"])) if source.dtype == np.uint8 else source
        tensor = _checked(tensor, source, "an array", channel_axis=2)
        return _channels_first(tensor.permute(2, 0, 1) if tensor.dim() == 3 else tensor)
    raise SegkitError(
        f"an image is a path, a PIL image, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W], "
        f"not a {type(source).__name__}",
        value=type(source).__name__,
    )


def _pil_pixels(image: Image.Image) -> np.ndarray:
    """Converts a PIL image to uint8 [H, W, 3], upright."""
    from segkit.utils.images.pillow_decoder import load_upright, opened_tiff, orientation_of, what_pillow_loses
    from segkit.utils.images.stored_image import upright

    if (pixels := opened_tiff(image)) is not None:
        return pixels
    # convert("RGB") would clip modes of more than 8 bits, and decoding a file may cut its samples to 8 bits.
    deep = image.mode.startswith(("I", "F"))
    reason = f"mode {image.mode} has more than 8 bits per channel" if deep else what_pillow_loses(image)
    if reason is not None:
        raise SegkitError(
            f"a PIL image was given as an image: {reason}; convert it to 8-bit RGB, or pass its path: segkit reads files "
            "itself, and scales by percentiles",
            value=image.mode,
        )
    try:
        load_upright(image)
        pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # decoders raise many kinds
        raise SegkitError(
            f"a PIL image of mode {image.mode} cannot be read as RGB ({error})", value=image.mode
        ) from error
    return upright(pixels, orientation_of(image))


def _checked(pixels: Any, source: Any, what: str, channel_axis: int) -> Tensor:
    """Returns the pixels if their dtype and shape are valid."""
    shape = tuple(source.shape)
    expected = "[H, W, 3] RGB or [H, W] grey" if channel_axis == 2 else "[3, H, W] RGB or [H, W] grey"
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
        raise SegkitError(
            f"{what} of {str(source.dtype).removeprefix('torch.')} was given as an image; expected uint8 {expected}, "
            "0..255 (for floats in 0..1: multiply by 255 and round)",
            value=str(source.dtype),
        )
    if len(shape) == 4:
        raise SegkitError(f"{what} of shape {list(shape)} is several images; pass a list: list(images)")
    if len(shape) not in (2, 3) or 0 in shape:
        raise SegkitError(f"{what} of shape {list(shape)} is not an image; expected {expected}", value=shape)
    if len(shape) == 3 and shape[channel_axis] not in (1, 3, 4):
        other = 2 - channel_axis
        hint = ""
        if shape[other] in (1, 3, 4):
            order = "(2, 0, 1)" if channel_axis == 0 else "(1, 2, 0)"
            hint = f"; its channels are the other axis: {'permute' if channel_axis == 0 else 'transpose'}{order}"
        raise SegkitError(f"{what} of shape {list(shape)} is not an image; expected {expected}{hint}", value=shape)
    return pixels


def _channels_first(pixels: Tensor) -> Tensor:
    """Converts [H, W] or [C, H, W] with 1, 3 or 4 channels to [3, H, W]."""
    pixels = pixels[None] if pixels.dim() == 2 else pixels
    return (pixels.expand(3, -1, -1) if pixels.shape[0] == 1 else pixels[:3]).contiguous()


def _is_pil(source: Any) -> bool:
    """Whether it is a PIL image, checked without importing PIL."""
    return any(cls.__module__.startswith("PIL.") for cls in type(source).__mro__)
