"""Labels beside objects and the legend under the picture, in the font that comes with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

FONT_SIZE = 14
LEGEND_BACKGROUND = (32, 32, 32)
LEGEND_TEXT = (235, 235, 235)
LEGEND_ENTRIES = 12


def font(size: int = FONT_SIZE) -> FreeTypeFont | ImageFont:
    """Pillow's own font."""
    from PIL import ImageFont as fonts

    return fonts.load_default(size=size)


def place_labels(
    canvas: np.ndarray, boxes: np.ndarray, texts: Sequence[str], colors: np.ndarray, size: int = FONT_SIZE
) -> np.ndarray:
    """Write each text at its box, where it covers no other label; a label that finds no place is left out.

    Args:
        canvas: uint8 [H, W, 3].
        boxes: [N, 4] XYXY in the canvas's pixels, most important first.
        texts: one a box; empty: none.
        colors: uint8 [N, 3] of the labels' backgrounds.
        size: of the font, in pixels.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(canvas)
    draw, face = ImageDraw.Draw(picture), font(size)
    height, width = canvas.shape[:2]
    taken = np.zeros((0, 4))
    for (x0, y0, x1, y1), text, color in zip(boxes.tolist(), texts, colors, strict=True):
        if not text:
            continue
        w, h = int(draw.textlength(text, font=face)) + 6, size + 4
        for x, y in ((x0, y0 - h), (x0, y1), (x1 - w, y0 - h), (x0, y0), (x0, y1 - h)):
            x, y = int(np.clip(x, 0, max(0, width - w))), int(np.clip(y, 0, max(0, height - h)))
            free = (taken[:, 0] >= x + w) | (taken[:, 2] <= x) | (taken[:, 1] >= y + h) | (taken[:, 3] <= y)
            if free.all():
                dark = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 110
                draw.rectangle((x, y, x + w - 1, y + h - 1), fill=tuple(int(c) for c in color))
                draw.text((x + 3, y + 1), text, font=face, fill=(255, 255, 255) if dark else (0, 0, 0))
                taken = np.concatenate([taken, [[x, y, x + w, y + h]]])
                break
    return np.asarray(picture)


def add_legend(
    canvas: np.ndarray, entries: Sequence[tuple[str, int, tuple[int, int, int] | None]], total: int
) -> np.ndarray:
    """The canvas with a strip below: how many objects, and of each class; nothing of the image is covered.

    Args:
        canvas: uint8 [H, W, 3].
        entries: (class name, count, colour or None), as they are to appear.
        total: number of objects.
    Returns:
        uint8 [H + strip, W, 3].
    """
    from PIL import Image, ImageDraw

    face, line, pad = font(), FONT_SIZE + 8, 8
    words: list[tuple[str, tuple[int, int, int] | None]] = [(f"{total} object{'' if total == 1 else 's'}", None)]
    words += [(f"{name}: {count}", color) for name, count, color in entries[:LEGEND_ENTRIES]]
    if len(entries) > LEGEND_ENTRIES:
        words.append((f"and {len(entries) - LEGEND_ENTRIES} more classes", None))
    width = canvas.shape[1]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    x, y = pad, pad // 2
    placed = []
    for text, color in words:
        space = int(measure.textlength(text, font=face)) + (FONT_SIZE + 6 if color else 0)
        if x > pad and x + space > width - pad:
            x, y = pad, y + line
        placed.append((x, y, text, color))
        x += space + 2 * pad
    strip = Image.new("RGB", (width, y + line + pad // 2), LEGEND_BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for x, y, text, color in placed:
        if color:
            draw.rectangle((x, y + 4, x + FONT_SIZE - 1, y + 3 + FONT_SIZE), fill=color)
            x += FONT_SIZE + 6
        draw.text((x, y + 2), text, font=face, fill=LEGEND_TEXT)
    return np.concatenate([canvas, np.asarray(strip)])
