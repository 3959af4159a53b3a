"""Labels beside objects and the legend below, in the fonts of Pillow and matplotlib."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

FONT_SIZE = 14
LEGEND_BACKGROUND = (32, 32, 32)
LEGEND_TEXT = (235, 235, 235)
LEGEND_ENTRIES = 12
LONGEST = 50  # characters of a class name that are shown at most


@lru_cache(maxsize=16)
def fonts(size: int) -> tuple[FreeTypeFont | ImageFont, ...]:
    """Returns Pillow's font (mostly ASCII) and matplotlib's (Latin, Greek, Cyrillic)."""
    from PIL import ImageFont as image_fonts

    own = image_fonts.load_default(size=size)
    spec = importlib.util.find_spec("matplotlib")
    file = Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if spec is not None and spec.origin else None
    if file is None or not file.is_file() or not isinstance(own, image_fonts.FreeTypeFont):
        return (own,)
    return own, image_fonts.truetype(str(file), size=size)


def cut(name: str) -> str:
    """Shortens a long class name."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def readable(text: str, size: int = FONT_SIZE) -> tuple[str, FreeTypeFont | ImageFont]:
    """Returns a text that can be drawn on one line, and the font for it.

    Characters that are invisible or in neither font are replaced by their escapes (``\\n``, ``\\u4e2d``), so that different
    names look different.
    """
    text = unicodedata.normalize("NFC", text)
    best = min(fonts(size), key=lambda face: sum(not _has_glyph(face, letter) for letter in text))
    return "".join(c if _has_glyph(best, c) else c.encode("unicode_escape").decode() for c in text), best


@lru_cache(maxsize=4096)
def _has_glyph(face: FreeTypeFont | ImageFont, letter: str) -> bool:
    if " " <= letter <= "~":
        return True
    if unicodedata.category(letter) in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp"):
        return False
    if not hasattr(face, "getmask2"):  # Pillow without FreeType: a bitmap font of Latin-1
        return letter <= "\xff"
    return bytes(face.getmask(letter)) != bytes(face.getmask("\uffff"))


def place_labels(
    picture: np.ndarray, boxes: np.ndarray, texts: Sequence[str], colors: np.ndarray, size: int = FONT_SIZE
) -> np.ndarray:
    """Writes each text at its box where it covers no other label, or not at all.

    Args:
        picture: uint8 [H, W, 3].
        boxes: [N, 4] XYXY in the image's pixels, most important first.
        texts: one for each box; an empty text is not drawn.
        colors: uint8 [N, 3], of the labels' backgrounds.
        size: of the font, in pixels.
    """
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    drawn = Image.fromarray(picture)
    draw = ImageDraw.Draw(drawn)
    taken = np.zeros((0, 4))
    for (x0, y0, x1, y1), text, color in zip(boxes.tolist(), texts, colors, strict=True):
        if not text:
            continue
        text, face = readable(text, size)
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
    return np.asarray(drawn)


def add_legend(
    picture: np.ndarray, entries: Sequence[tuple[str, int, tuple[int, int, int] | None]], total: int
) -> np.ndarray:
    """Returns the picture with a strip below it that has the number of objects of each class.

    Args:
        picture: uint8 [H, W, 3].
        entries: class name, count and colour (or None), in the order of the legend.
        total: number of objects.
    Returns:
        uint8 [H + strip, W, 3].
    """
    from PIL import Image, ImageDraw

    line, pad = FONT_SIZE + 8, 8
    words: list[tuple[str, tuple[int, int, int] | None]] = [(f"{total} object{'' if total == 1 else 's'}", None)]
    words += [(f"{name}: {count}", color) for name, count, color in entries[:LEGEND_ENTRIES]]
    if len(entries) > LEGEND_ENTRIES:
        words.append((f"and {len(entries) - LEGEND_ENTRIES} more classes", None))
    width = picture.shape[1]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    x, y = pad, pad // 2
    placed = []
    for words_text, color in words:
        text, face = readable(words_text)
        space = int(measure.textlength(text, font=face)) + (FONT_SIZE + 6 if color else 0)
        if x > pad and x + space > width - pad:
            x, y = pad, y + line
        placed.append((x, y, text, face, color))
        x += space + 2 * pad
    strip = Image.new("RGB", (width, y + line + pad // 2), LEGEND_BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for x, y, text, face, color in placed:
        if color:
            draw.rectangle((x, y + 4, x + FONT_SIZE - 1, y + 3 + FONT_SIZE), fill=color)
            x += FONT_SIZE + 6
        draw.text((x, y + 2), text, font=face, fill=LEGEND_TEXT)
    return np.concatenate([picture, np.asarray(strip)])
