"""TIFF and PNG files written byte by byte: their samples are known without any library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

KINDS = {"u": 1, "i": 2, "f": 3}  # SampleFormat
FORMATS = {2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}


def write_tiff(path, pages, order="<", big=False, after=b""):
    """Writes pages of ``(tags, segments)``: tags by code (int, list or bytes), and the bytes of the strips or tiles.

    The data lie behind the header, ``after`` behind them, the directories at the end.
    """
    word, head = (8, 16) if big else (4, 8)
    body, offsets = b"", []
    for _, segments in pages:
        offsets.append([])
        for segment in segments:
            offsets[-1].append(head + len(body))
            body += segment
    body += after + b"\0" * ((len(body) + len(after)) % 2)
    first, out = head + len(body), b""
    for number, (tags, segments) in enumerate(pages):
        tiled = 322 in tags
        entries = {**tags, 324 if tiled else 273: offsets[number], 325 if tiled else 279: [len(s) for s in segments]}
        count, size = ("Q", 20) if big else ("H", 12)
        tail_at = first + len(out) + struct.calcsize(f"={count}") + size * len(entries) + word
        directory, tail = struct.pack(f"{order}{count}", len(entries)), b""
        for code, value in sorted(entries.items()):
            if isinstance(value, bytes):
                kind, n, packed = (1 if code == 700 else 7 if code == 347 else 2), len(value), value
            else:
                values = [value] if isinstance(value, int) else list(value)
                kind = 3 if max(values) < 1 << 16 and code not in (273, 324) else 4
                n, packed = len(values), struct.pack(f"{order}{len(values)}{FORMATS[kind][0]}", *values)
            directory += struct.pack(f"{order}HH{'Q' if big else 'I'}", code, kind, n)
            if len(packed) <= word:
                directory += packed.ljust(word, b"\0")
            else:
                directory += struct.pack(f"{order}{'Q' if big else 'I'}", tail_at + len(tail))
                tail += packed + b"\0" * (len(packed) % 2)
        end = tail_at + len(tail)
        last = number == len(pages) - 1
        out += directory + struct.pack(f"{order}{'Q' if big else 'I'}", 0 if last else end) + tail
    mark = b"II" if order == "<" else b"MM"
    header = mark + (struct.pack(f"{order}HHHQ", 43, 8, 0, first) if big else struct.pack(f"{order}HI", 42, first))
    Path(path).write_bytes(header + body + out)
    return path


def page(
    pixels, order="<", bits=None, photometric=None, compression=1, predictor=1, tile=None, rows=None, planar=1, **more
):
    """Tags and segments of an array ``[H, W]`` or ``[H, W, C]``; ``more`` adds tags as ``t338=2``."""
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    height, width, samples = pixels.shape
    bits = bits or pixels.dtype.itemsize * 8
    photometric = (2 if samples in (3, 4) else 1) if photometric is None else photometric
    rows = rows or height
    tags = {
        256: width, 257: height, 258: [bits] * samples, 259: compression, 262: photometric, 277: samples, 284: planar,
        317: predictor, 339: [KINDS[pixels.dtype.kind]] * samples, **{int(k[1:]): v for k, v in more.items()},
    }  # fmt: skip
    if tile:
        tags |= {322: tile, 323: tile}
        pixels = np.pad(pixels, ((0, -height % tile), (0, -width % tile), (0, 0)))
        parts = [pixels[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]
    else:
        tags[278] = rows
        parts = [pixels[y : y + rows] for y in range(0, height, rows)]
    if planar == 2:
        parts = [part[:, :, [k]] for k in range(samples) for part in parts]
    return tags, [compressed(stored_bytes(part, bits, order, predictor), compression) for part in parts]


def stored_bytes(part, bits, order, predictor):
    """The bytes of ``[rows, width, samples]``, a row beginning at a byte."""
    if predictor == 2:
        part = np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1]))
    if predictor == 3:
        planes = part.reshape(len(part), -1).astype(part.dtype.newbyteorder(">")).view(np.uint8)
        planes = planes.reshape(len(part), -1, part.dtype.itemsize).swapaxes(1, 2).reshape(len(part), -1)
        samples = part.shape[2]
        return np.concatenate([planes[:, :samples], planes[:, samples:] - planes[:, :-samples]], axis=1).tobytes()
    if bits == part.dtype.itemsize * 8:
        return part.astype(part.dtype.newbyteorder(order)).tobytes()
    flat = part.reshape(len(part), -1, 1).astype(np.int64)
    return np.packbits((flat >> np.arange(bits)[::-1] & 1).reshape(len(part), -1).astype(np.uint8), axis=1).tobytes()


def compressed(data, compression):
    if compression in (8, 32946):
        return zlib.compress(data)
    if compression == 5:
        return lzw(data)
    if compression == 32773:  # PackBits, as literal runs
        return b"".join(bytes([len(data[k : k + 128]) - 1]) + data[k : k + 128] for k in range(0, len(data), 128))
    return data


def lzw(data):
    """LZW without any compression: the table is cleared before a code needs 10 bits."""
    codes = []
    for k in range(0, len(data), 200):
        codes += [256, *data[k : k + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def write_png(path, pixels, depth=16, color=None, interlace=0, chunks=()):
    """A PNG of ``[H, W]`` or ``[H, W, C]``, a row after another with filters 0 to 4; ``chunks`` go before the data."""
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    height, width, channels = pixels.shape
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels] if color is None else color
    if interlace:
        starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        passes = [pixels[y::dy, x::dx] for y, x, dy, dx in starts]
    else:
        passes = [pixels]
    step = max(1, channels * depth // 8)
    data = b"".join(filtered(rows_of(part, depth), step) for part in passes if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    everything = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    out = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in everything)
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + out)
    return path


def rows_of(part, depth):
    if depth >= 8:
        return part.astype(f">u{depth // 8}").reshape(len(part), -1).view(np.uint8)
    flat = part.reshape(len(part), -1, 1)
    return np.packbits((flat >> np.arange(depth)[::-1] & 1).reshape(len(part), -1).astype(np.uint8), axis=1)


def filtered(rows, step):
    """PNG's filters, row k with filter k % 5."""
    out, above = b"", np.zeros(rows.shape[1], np.int64)
    for k, row in enumerate(rows.astype(np.int64)):
        left = np.concatenate([np.zeros(step, np.int64), row[:-step]])[: len(row)]
        corner = np.concatenate([np.zeros(step, np.int64), above[:-step]])[: len(row)]
        guess = left + above - corner
        distances = np.stack([abs(guess - left), abs(guess - above), abs(guess - corner)])
        paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
        base = (0 * row, left, above, (left + above) // 2, paeth)[k % 5]
        out += bytes([k % 5]) + ((row - base) % 256).astype(np.uint8).tobytes()
        above = row
    return out
