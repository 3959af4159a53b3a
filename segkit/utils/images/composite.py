"""Pictures of images of any number of channels: one colour a channel, added up."""

from __future__ import annotations

import numpy as np
import torch

# Of the channels of an image that is neither grey nor RGB, in order; further channels start again.
CHANNEL_COLORS = (
    (0, 0, 255),  # blue
    (0, 255, 0),  # green
    (255, 0, 0),  # red
    (128, 128, 128),  # grey
    (0, 255, 255),  # cyan
    (255, 0, 255),  # magenta
    (255, 255, 0),  # yellow
)
WHITEST = 0.999  # share of the samples that are at most white in a stretched picture


def composite(image: torch.Tensor | np.ndarray) -> np.ndarray:
    """A picture of an image: uint8 [H, W, 3].

    One channel is grey, three are RGB. Other numbers of channels are added up, each in its colour of ``CHANNEL_COLORS``.
    Float images, and those of other than one or three channels, are brightened until their 99.9th percentile is white, each
    channel by itself, three channels together; uint8 grey and RGB stay as they are.

    Args:
        image: [C, H, W], uint8 or float in 0..1.
    """
    pixels = np.moveaxis(np.asarray(image.detach().cpu() if isinstance(image, torch.Tensor) else image), 0, 2)
    count = pixels.shape[2]
    if pixels.dtype == np.uint8 and count in (1, 3):
        return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if count == 1 else pixels)
    values = pixels.astype(np.float32) / (255 if pixels.dtype == np.uint8 else 1)
    flat = values.reshape(-1, 1 if count == 3 else count) if values.size else np.zeros((1, count), np.float32)
    white = np.quantile(flat, WHITEST, axis=0).astype(np.float32)
    values /= np.where(white > 0, white, 1)
    if count == 1:
        mixed = np.repeat(values, 3, axis=2)
    elif count == 3:
        mixed = values
    else:
        colors = np.array([CHANNEL_COLORS[k % len(CHANNEL_COLORS)] for k in range(count)], np.float32) / 255
        mixed = np.clip(values, 0, 1) @ colors
    return np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)
