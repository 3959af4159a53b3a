"""Conversion of paths, PIL images, arrays and tensors to the tensors that a model gets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from segkit.inference.array_image import ArrayImage, is_lazy_array
from segkit.utils.errors import SegkitError, image_errors
from segkit.utils.images import ChannelImage, ImageReader

if TYPE_CHECKING:
    from PIL import Image

    from segkit.utils.images.lazy_image import LazyImage

RGB_READER = ImageReader()


def is_single_image(source: Any) -> bool:
    """Whether an argument is one image, not an iterable of images."""
    return isinstance(source, (str, os.PathLike, np.ndarray, Tensor)) or _is_pil(source) or is_lazy_array(source)


def open_image(
    source: Any, reader: ImageReader = RGB_READER, channels: int = 3, *, lazily: bool = False
) -> Tensor | LazyImage:
    """As :func:`to_image_tensor`, without reading what is large.

    With ``lazily``, large files and arrays that are not in memory stay unread.
    """
    if lazily and is_lazy_array(source):
        _checked(source, source, "an array", reader, channels, channel_axis=2)
        return ArrayImage(source, reader).lazy()
    if lazily and isinstance(source, (str, os.PathLike)):
        from segkit.utils.paths import local_path

        with image_errors():
            lazy = reader.open_if_large(local_path(os.fspath(source), "image", kind="file"))
        if lazy is not None:
            return lazy
    return to_image_tensor(source, reader, channels)


def in_rgb(source: Any) -> Any:
    """An array [H, W, C] or tensor [C, H, W] of BGR in RGB; anything else as it is."""
    if isinstance(source, Tensor) and source.ndim == 3 and source.shape[0] in (3, 4):
        return torch.cat([source[:3].flip(0), source[3:]])
    if isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] in (3, 4):
        return np.concatenate([source[:, :, 2::-1], source[:, :, 3:]], axis=2)
    return source


def to_image_tensor(source: Any, reader: ImageReader = RGB_READER, channels: int = 3) -> Tensor:
    """Converts an image to the tensor [C, H, W] that a file with the same samples becomes.

    Args:
        source: a path; a PIL image of 8 bits, whose current frame is turned upright by its orientation tag; an array
            [H, W, C] or a tensor [C, H, W] of uint8, uint16 or other numbers. Without chosen channels (``data.channels``) C is
            3 RGB, 4 (alpha is dropped) or 1 grey, or the image is [H, W] grey. With chosen channels it has these, in that
            order; [H, W] is an image of one channel.
        reader: of the configuration.
        channels: of the model.
    Returns:
        uint8, or float32 in 0..1 for all but 8-bit images.
    Raises:
        SegkitError: anything else; the message says what was expected.
    """
    if isinstance(source, (str, os.PathLike)):
        from segkit.utils.paths import local_path

        return reader.read(local_path(os.fspath(source), "image", kind="file"))
    if is_lazy_array(source):
        source = np.asarray(source)
    if isinstance(source, Tensor):
        plain = source.detach().cpu()
        plain = plain.float() if plain.dtype == torch.bfloat16 else plain  # which NumPy does not have
        pixels = _checked(plain.numpy(), source, "a tensor", reader, channels, channel_axis=0)
        pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    elif _is_pil(source):
        return _from_pil(source, reader)
    elif isinstance(source, np.ndarray):
        pixels = _checked(source, source, "an array", reader, channels, channel_axis=2)
    else:
        raise SegkitError(
            f"an image is a path, a PIL image, an array [H, W, C] or a tensor [C, H, W], not a {type(source).__name__}",
            value=type(source).__name__,
        )
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if reader.channels is None and pixels.shape[2] == 4:
        pixels = pixels[:, :, :3]
    image = ChannelImage(pixels, pixels.dtype.itemsize * 8, joint=reader.channels is None)
    found = reader.scale(image, "an image").contiguous()
    return found.clone() if np.shares_memory(found.numpy(), pixels) else found


def _from_pil(image: Image.Image, reader: ImageReader) -> Tensor:
    """Converts a PIL image as its file is read."""
    from segkit.utils.images.pillow_decoder import load_upright, opened_tiff, orientation_of, what_pillow_loses
    from segkit.utils.images.stored_image import StoredImage

    if (stored := opened_tiff(image)) is not None:
        return reader.convert(stored, "a PIL image").contiguous()
    # convert("RGB") would clip modes of more than 8 bits, and decoding a file may cut its samples to 8 bits.
    deep = image.mode.startswith(("I", "F"))
    reason = f"mode {image.mode} has more than 8 bits per channel" if deep else what_pillow_loses(image)
    if reason is not None:
        raise SegkitError(
            f"a PIL image was given as an image: {reason}; pass its path, because segkit reads files itself, or an array of "
            "its samples",
            value=image.mode,
        )
    try:
        load_upright(image)
        mode = image.mode if reader.channels is not None and image.mode in ("L", "LA", "RGBA") else "RGB"
        pixels = np.asarray(image.convert(mode))
    except Exception as error:  # decoders raise many kinds
        raise SegkitError(
            f"a PIL image of mode {image.mode} cannot be read as RGB ({error})", value=image.mode
        ) from error
    color = "grey" if mode.startswith("L") else "rgb"
    stored = StoredImage(pixels, color, 8, None, ("alpha",) if mode.endswith("A") else (), orientation_of(image))
    return reader.convert(stored, "a PIL image").contiguous()


def _checked(
    pixels: np.ndarray, source: Any, what: str, reader: ImageReader, channels: int, channel_axis: int
) -> np.ndarray:
    """Returns the pixels if their dtype and shape are valid."""
    shape = tuple(source.shape)
    chosen = reader.channels is not None
    allowed = (channels,) if chosen else (1, 3, 4)
    last = channel_axis == 2
    if chosen:
        expected = f"[H, W, {channels}]" if last else f"[{channels}, H, W]"
        expected += f", the channels of data.channels ({reader.channels}) in that order"
    else:
        expected = "[H, W, 3] RGB or [H, W] grey" if last else "[3, H, W] RGB or [H, W] grey"
    if pixels.dtype.kind not in "iuf":
        raise SegkitError(
            f"{what} of {str(source.dtype).removeprefix('torch.')} was given as an image; expected numbers {expected}: uint8, "
            "uint16, other integers or floats",
            value=str(source.dtype),
        )
    if len(shape) == 4:
        raise SegkitError(f"{what} of shape {list(shape)} is several images; pass a list: list(images)")
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 2 and chosen and channels != 1):
        raise SegkitError(f"{what} of shape {list(shape)} is not an image; expected {expected}", value=shape)
    if len(shape) == 3 and shape[channel_axis] not in allowed:
        other = 2 - channel_axis
        hint = ""
        if shape[other] in allowed:
            order = "(2, 0, 1)" if channel_axis == 0 else "(1, 2, 0)"
            hint = f"; its channels are the other axis: {'permute' if channel_axis == 0 else 'transpose'}{order}"
        raise SegkitError(f"{what} of shape {list(shape)} is not an image; expected {expected}{hint}", value=shape)
    return pixels


def _is_pil(source: Any) -> bool:
    """Whether it is a PIL image, checked without importing PIL."""
    return any(cls.__module__.startswith("PIL.") for cls in type(source).__mro__)
