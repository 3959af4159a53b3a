"""Files and mutations that the fuzzers of several formats share."""

import functools
import io
import re
import shutil
from pathlib import Path

import numpy as np
from fuzz_annotations import NAMES
from PIL import Image

H, W = 24, 32
FILE_NAMES = [name for name in NAMES if isinstance(name, str) and "\ud800" not in name]
WORDS = [
    "nan", "inf", "-inf", "1e400", "1e308", "-1", "0", "1", "0.5", "1.0000001", "1_0", "0x10", "１", "99999999999999999999",
    "9" * 5000, "", " ", "\0", "é", "a", "-0", "+1", "1.", ".5", "2147483648", "1,2", "1;2", "true", "../../x", "/etc/passwd",
    "900000", "30000", "1000000",
]  # fmt: skip


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@functools.lru_cache
def image_bytes():
    return png(np.zeros((H, W, 3), np.uint8))


def fresh(folder):
    """An empty folder for one try."""
    path = Path(folder, "x")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def one_word(text, draw, pattern=r"[-\w.]+"):
    """Replaces a word of a text by an odd one."""
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    for match in sorted(draw.sample(found, min(len(found), draw.choice([1, 1, 1, 3]))), key=lambda m: -m.start()):
        text = text[: match.start()] + draw.choice(WORDS) + text[match.end() :]
    return text


def damaged(content, draw):
    """Bytes with a few changed, cut off or repeated."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 4])):
        at = draw.randrange(len(content))
        way = draw.randrange(4)
        if way == 0:
            content[at] = draw.randrange(256)
        elif way == 1:
            del content[at:]
            content += b"\0"
        elif way == 2:
            content[at:at] = draw.randbytes(draw.choice([1, 4, 100]))
        else:
            content[at : at + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x75\x30"])
    return bytes(content)
