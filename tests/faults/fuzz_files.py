"""Files and mutations for fuzzing readers of masks and outlines."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from mutations import ODD, change, deep, mutated_bytes, mutated_text
from PIL import Image

from segkit.data.formats import Dataset
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError

H, W = 24, 32
ODD_VALUES = [
    0, -0.0, -1, 1, 2, 5, 24, 31.5, 1e5, -1e5, 1e6, -1e6, 1e6 + 1, 1e9, 2**31, -(2**31), 2**63, -(2**70), 10**30, 10**400,
    1e308, 1e-320, float("nan"), float("inf"), float("-inf"), True, None, "1", [1], {},
]  # fmt: skip
NAMES = [
    "../a.png", "/etc/passwd", "", ".", "..", "a.png/", "./a.png", "a\\..\\x", "\0", "x" * 5000, "\ud800", "b.png", 3, None,
]  # fmt: skip
NASTY = [
    "NaN", "Infinity", "-", "1e999", "1" * 5000, "[" * 100_000, '{"a":' * 50_000, "[]", "{}", "null", '"', '"\\u', "\t", ",",
    ":", '"type": 3,', "]}", "}{",
]  # fmt: skip


@functools.lru_cache
def labels():
    """A label map of rectangles."""
    values = np.zeros((H, W), np.uint16)
    values[2:9, 3:12], values[10:20, 5:25], values[0, 31] = 1, 2, 300
    return values


def packed(values, format="PNG"):
    """The bytes of an image file."""
    stream = io.BytesIO()
    if format == "npy":
        np.save(stream, values)
    elif format == "TIFF":
        tifffile.imwrite(stream, values)
    else:
        Image.fromarray(values).save(stream, format)
    return stream.getvalue()


def png_bomb(width, height):
    """A PNG of few bytes that claims to be large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


def damaged(data, draw):
    """Bytes with some changed, cut off, repeated or inserted."""
    data = bytearray(data or b"\0")  # cut to nothing before
    way = draw.randrange(6)
    if way == 0:
        del data[draw.randrange(len(data) + 1) :]
    elif way == 1:
        at = draw.randrange(len(data) + 1)
        data[at:at] = bytes(draw.randrange(256) for _ in range(draw.choice([1, 4, 40])))
    else:
        for _ in range(draw.choice([1, 1, 2, 5, 20])):
            at = min(int(draw.random() ** 2 * len(data)), len(data) - 1)  # headers are at the front
            data[at] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256), data[at] ^ 1])
    return bytes(data)


def odd_mask(draw):
    """Bytes of a mask file: of odd shapes, types and values, or damaged."""
    format = draw.choice(["PNG", "PNG", "TIFF", "npy"])
    way = draw.randrange(8)
    if way == 0:
        return draw.choice([b"", b"junk", png_bomb(100_000, 100_000), png_bomb(30_000, 30_000), bytes(5000)])
    if way == 1:
        shapes = [(W, H), (1, 1), (H, W, 3), (H, W, 4), (H, W, 2), (3, H, W), (H, W, 1), (0, 0), (H * 40, W * 40)]
        values = np.zeros(draw.choice(shapes), draw.choice([np.uint8, np.uint16, np.float32, np.int64]))
        return packed(values, draw.choice(["TIFF", "npy"]) if values.size else "npy")
    if way == 2:
        kind = draw.choice(
            [np.float32, np.float64, np.int8, np.int64, np.uint64, np.complex64, bool, "<U3", ">i4", object]
        )
        values = labels().astype(kind)
        if values.dtype.kind in "f":
            values[3, 3] = draw.choice([np.nan, np.inf, -1, 0.5, 1e30])
        elif values.dtype.kind == "i":
            values[3, 3] = draw.choice([-1, np.iinfo(values.dtype).max, np.iinfo(values.dtype).min])
        return packed(values, "npy")
    if way == 3:
        shape = draw.choice([(10**9, 10**9), (-1, 4), (24,), (2**62,), ()])
        claims = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(claims)) + claims.encode() + bytes(64)
    return damaged(packed(labels() if format != "PNG" else labels().astype(np.uint8), format), draw)


def cleaned(folder, image="a.png"):
    """An empty folder with one image in it."""
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / image).parent.mkdir(parents=True, exist_ok=True)
    (folder / image).write_bytes(packed(np.full((H, W, 3), 90, np.uint8)))
    return folder


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def read_all(spec, folder, every):
    """Recognises a folder, opens and reads the data set; returns whether it was accepted."""
    for name, component in DATASET_FORMAT_REGISTRY:
        own = name == spec["format"] or every  # the other formats in some tries only, which saves time
        if own and isinstance(component, type) and issubclass(component, Dataset):
            component.recognize(Path(folder))
    try:
        dataset = DATASET_FORMAT_REGISTRY.build(spec, path="data.train")
        for index in range(len(dataset)):
            sample = dataset.load(index)
            dataset.ground_truth(index, sample)
            dataset.label_counts(index)
            dataset.training_objects(index)
            assert len(dataset.targets(index)) == len(sample.targets)
            assert sample.targets.masks is None or (sample.targets.masks.areas()[sample.targets.has_mask] > 0).all()
        assert dataset.summary()
        dataset.lost_objects()
    except SegkitError as error:
        assert str(error)
        return False
    return True


def mutated_json(content, draw, knowingly):
    """A JSON text as bytes: the tree, the text or the bytes are changed."""
    content = copy.deepcopy(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        if draw.random() < 0.7:
            with contextlib.suppress(OverflowError):
                knowingly(content, draw)
        else:
            with contextlib.suppress(OverflowError):  # half of an integer that is too large for a float
                change(content, draw)
    text = json.dumps(content, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.2:
        text = mutated_text(text, draw, NASTY)
    return mutated_bytes(text, draw)


def points(draw):
    """Odd points: few, many, nested, far."""
    far = draw.choice([30, 100, 1e4, 1e6])
    ways = [
        lambda: [
            [draw.choice(ODD_VALUES) for _ in range(draw.choice([2, 2, 3, 0]))]
            for _ in range(draw.choice([0, 1, 3, 5]))
        ],
        lambda: [[draw.uniform(-far, far), draw.uniform(-far, far)] for _ in range(draw.choice([3, 4, 30, 2000]))],
        lambda: [[far, -far], [-far, far]] * draw.choice([2, 50, 500]),
        lambda: [[3, 3]] * draw.choice([1, 2, 3, 5000]),
        lambda: deep(draw.choice([1, 3, 200]), 1),
        lambda: draw.choice(ODD),
    ]
    return draw.choice(ways)()


SQUARE = [[3, 3], [12, 3], [12, 9], [3, 9], [3, 3]]
