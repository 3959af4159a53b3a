"""The stored numbers of one TIFF page, whatever their type, packing and compression.

tifffile decodes what is uncompressed or deflated. For other compressions it needs imagecodecs, so libtiff inside Pillow
undoes them: the compressed strips or tiles get a new header, which calls them 8-bit grey (or colour) with one sample a
byte. libtiff then returns the bytes as they are, and Pillow's conversions have nothing to change.

imagecodecs is no requirement because of its size: 80 MB installed, where tifffile has 2 MB.
Where it is installed, it decodes what Pillow's libtiff cannot (JPEG 2000, JPEG XL, WebP, LERC, 12-bit JPEG; Zstandard
before Pillow 12). What both can decode is decoded here, so that the numbers do not depend on what is installed.
"""

from __future__ import annotations

import functools
import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from tifffile import TiffPage

NONE, LZW, JPEG, ADOBE_DEFLATE, PACKBITS, DEFLATE, LZMA, ZSTD = 1, 5, 7, 8, 32773, 32946, 34925, 50000
FAX = (2, 3, 4)
PICTURE_CODECS = (*FAX, JPEG)  # they encode samples, not bytes
BYTE_CODECS = (NONE, LZW, ADOBE_DEFLATE, PACKBITS, DEFLATE, LZMA, ZSTD)
TIFFFILE_CODECS = (NONE, ADOBE_DEFLATE, DEFLATE)  # without imagecodecs
YCBCR = 6
KINDS = {2: "i", 3: "f"}  # SampleFormat; all others are unsigned integers, as libtiff has it
_GREY = {258: 8, 262: 1, 277: 1, 284: 1}  # tags of 8-bit grey
CHUNK = 1 << 26  # bytes that are decompressed at once


def read_numbers(page: TiffPage, name: str) -> np.ndarray:
    """The samples of a page.

    Args:
        page: a page of an open file.
        name: the file, for messages.
    Returns:
        ``[H, W, C]`` in the smallest type of the sample's kind that holds its bits. YCbCr is converted to RGB.
    Raises:
        SegkitError: the page's numbers are of a type, or its compression is of a kind, that cannot be read.
        Exception: the data are damaged.
    """
    bits, codec, samples = page.bitspersample, int(page.compression), page.samplesperpixel
    if not isinstance(bits, int):
        raise SegkitError(f"{name}: its channels have different numbers of bits ({', '.join(map(str, bits))})")
    formats = page.tags.valueof(339, 1)
    formats = {int(kind) for kind in (formats[:samples] if isinstance(formats, tuple) else (formats,))}
    if len(formats) > 1 or formats & {5, 6} or (3 in formats and bits not in (16, 32, 64)) or not 1 <= bits <= 64:
        raise SegkitError(
            f"{name}: its samples are of {bits} bits and SampleFormat {', '.join(map(str, sorted(formats)))}; expected "
            "integers, or floats of 16, 32 or 64 bits"
        )
    if codec in (NONE, PACKBITS) and page.predictor != 1:
        raise SegkitError(f"{name}: has a predictor, which is not defined for its compression; save it again")
    if codec == ZSTD and not _libtiff_knows_zstd():
        return _by_tifffile(page, name)
    ycbcr = int(page.photometric) == YCBCR and samples > 1
    if ycbcr and (samples, bits) != (3, 8):
        raise SegkitError(f"{name}: is YCbCr with {samples} channels of {bits} bits; expected 3 of 8 bits, or RGB")
    if ycbcr and codec not in (*BYTE_CODECS, *PICTURE_CODECS):
        raise SegkitError(f"{name}: is YCbCr with the compression {_codec_name(page)}; save it as RGB")
    plain = bits == 8 and samples in (1, 3) and formats == {1} and page.planarconfig == 1 and codec in BYTE_CODECS
    if bits == (1 if codec in FAX else 8) and (codec in PICTURE_CODECS or ycbcr):
        return _libtiff_picture(page, ycbcr)
    if plain and codec not in TIFFFILE_CODECS:
        return _libtiff_picture(page, ycbcr=False)
    by_tifffile = bits in (8, 16, 32, 64) and page.predictor in (1, 2) and page.dtype is not None
    if codec in BYTE_CODECS and not (codec in TIFFFILE_CODECS and by_tifffile):
        return _unpacked(page, KINDS.get(formats.pop(), "u"), name)
    return _by_tifffile(page, name)


def _by_tifffile(page: TiffPage, name: str) -> np.ndarray:
    _segments(page, damaged_only=True)
    try:
        found = page.asarray(squeeze=False, maxworkers=1)  # [planes, depth, H, W, samples]
    except (ValueError, NotImplementedError, ImportError) as error:
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
        raise SegkitError(
            f"{name}: {page.bitspersample} bits a sample with the compression {_codec_name(page)} need the package "
            "imagecodecs: pip install imagecodecs, or save the file without compression"
        ) from error
    found = np.moveaxis(found[:, 0, ..., 0], 0, 2) if page.planarconfig == 2 else found[0, 0]
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _codec_name(page: TiffPage) -> str:
    return str(getattr(page.compression, "name", page.compression))


@functools.cache
def _libtiff_knows_zstd() -> bool:
    """Whether Pillow's libtiff decodes Zstandard: one byte that is compressed so."""
    frame = bytes.fromhex("28b52ffd200109000007")  # magic number, size 1, one raw block of one byte: 7
    try:
        return int(_decoded({**_GREY, 256: 1, 257: 1, 259: ZSTD}, [frame], 1, None)[0, 0]) == 7
    except OSError:
        return False


def _segments(page: TiffPage, damaged_only: bool = False) -> list[bytes]:
    """The compressed strips or tiles, in the file's order; ValueError where some are missing or cut off."""
    down, across, _, _ = _grid(page)
    expected = down * across * (page.samplesperpixel if page.planarconfig == 2 else 1)
    offsets, counts = page.dataoffsets[:expected], page.databytecounts[:expected]
    if min(len(offsets), len(counts)) < expected:
        raise ValueError(f"{min(len(offsets), len(counts))} of {expected} strips or tiles are there")
    file = page.parent.filehandle
    if any(offset + count > file.size for offset, count in zip(offsets, counts, strict=True)):
        raise ValueError("the file is cut off")
    if damaged_only:
        return []
    segments = []
    for offset, count in zip(offsets, counts, strict=True):
        file.seek(offset)
        segments.append(file.read(count))
    return segments


def _grid(page: TiffPage) -> tuple[int, int, int, int]:
    """Strips or tiles below each other and side by side, and the height and width of one."""
    if page.is_tiled:
        height, width = page.tilelength, page.tilewidth
    else:
        height, width = page.rowsperstrip or page.imagelength, page.imagewidth
    return math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width), height, width


def _libtiff_picture(page: TiffPage, ycbcr: bool) -> np.ndarray:
    """A page of 8 bits (1 bit: fax) by libtiff's own decoder, its samples named so that Pillow leaves them alone."""
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    samples = page.samplesperpixel // planes
    photometric = YCBCR if ycbcr else {1: 1, 2: 1, 3: 2, 4: 5}.get(samples)
    if photometric is None or (ycbcr and planes > 1):
        raise ValueError(f"{page.samplesperpixel} samples of compression {int(page.compression)} in {planes} planes")
    _, _, height, width = _grid(page)
    segments, codec = _segments(page), int(page.compression)
    if ycbcr and codec == NONE:  # Pillow reads these itself, and knows no chroma subsampling
        segments, codec = [zlib.compress(segment) for segment in segments], ADOBE_DEFLATE
    tags: dict[int, Any] = {
        256: page.imagewidth, 257: page.imagelength, 258: [page.bitspersample] * samples, 259: codec,
        262: photometric, 266: int(page.fillorder), 277: samples, 284: 1, 317: int(page.predictor),
    }  # fmt: skip
    if samples == 2:
        tags[338] = 2
    for code in (292, 293, 347, 530, 531):  # fax options, JPEG tables, chroma subsampling and its position
        if (value := page.tags.valueof(code)) is not None:
            tags[code] = value
    each = len(segments) // planes
    parts = [
        _decoded(tags, segments[k * each : (k + 1) * each], height, width if page.is_tiled else None)
        for k in range(planes)
    ]
    return np.concatenate([part[:, :, None] if part.ndim == 2 else part for part in parts], axis=2)


def _unpacked(page: TiffPage, kind: str, name: str) -> np.ndarray:
    """A page of any number of bits, from its bytes."""
    from PIL import Image

    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    samples, bits = page.samplesperpixel // planes, page.bitspersample
    predictor = int(page.predictor)
    if predictor not in (1, 2, 3) or (predictor == 2 and bits % 8) or (predictor == 3 and kind != "f"):
        raise SegkitError(f"{name}: predictor {predictor} is not defined for its samples of {bits} bits")
    down, across, height, width = _grid(page)
    segments = _segments(page)
    row_bytes = math.ceil(width * samples * bits / 8)
    chunk = min(CHUNK, Image.MAX_IMAGE_PIXELS or CHUNK)  # a byte is a pixel to Pillow, which has a limit
    group = max(1, chunk // (height * across * row_bytes))  # rows of segments that are decompressed at once
    found = np.empty((page.imagelength, page.imagewidth, page.samplesperpixel), _type(kind, bits))
    for plane in range(planes):
        for first in range(0, down, group):
            top, some = first * height, min(group, down - first)
            rows = some * height if page.is_tiled else min(some * height, page.imagelength - top)
            tags = {
                **_GREY, 256: across * row_bytes, 257: rows, 259: int(page.compression), 266: int(page.fillorder),
            }  # fmt: skip
            start = (plane * down + first) * across
            part = segments[start : start + some * across]
            data = _decoded(tags, part, height, row_bytes if page.is_tiled else None).reshape(rows, across, row_bytes)
            values = _samples(data, width, samples, bits, kind, page)
            values = values.reshape(rows, across * width, samples)[: page.imagelength - top, : page.imagewidth]
            found[top : top + rows, :, plane * samples : (plane + 1) * samples] = values
    return found


def _samples(data: np.ndarray, width: int, samples: int, bits: int, kind: str, page: TiffPage) -> np.ndarray:
    """Bytes ``[rows, segments, bytes]`` to numbers ``[rows, segments, width, samples]``."""
    order, count, lead = page.parent.byteorder, width * samples, data.shape[:2]
    if page.predictor == 3:  # differences of bytes, all first bytes of a row's floats before all second ones
        data = np.cumsum(data.reshape(*lead, -1, samples), axis=2, dtype=np.uint8)
        data = np.ascontiguousarray(np.moveaxis(data.reshape(*lead, bits // 8, count), 2, 3)).reshape(*lead, -1)
        order = ">"
    if bits in (8, 16, 32, 64):
        values = np.ascontiguousarray(data).view(f"{order}u{bits // 8}")
        values = values.astype(values.dtype.newbyteorder("="), copy=False).reshape(*lead, width, samples)
    else:
        values = _odd_bits(data, count, bits, order).reshape(*lead, width, samples)
    if page.predictor == 2:
        values = np.cumsum(values, axis=2, dtype=values.dtype)
        if bits not in (8, 16, 32, 64):
            values &= np.array(2**bits - 1, values.dtype)
    if kind == "i" and values.dtype.itemsize * 8 > bits:  # carry the sign upwards
        sign = np.array(1 << (bits - 1), values.dtype)
        values = (values ^ sign) - sign
    return values.view(_type(kind, bits))


def _odd_bits(data: np.ndarray, count: int, bits: int, order: str) -> np.ndarray:
    """Numbers of a width that NumPy lacks: whole bytes in the file's order, all others from the highest bit down."""
    target = _type("u", bits)
    spread = np.zeros((*data.shape[:2], count, target.itemsize * 8), np.uint8)
    if bits % 8 == 0 and order == "<":
        data = np.ascontiguousarray(data.reshape(*data.shape[:2], count, bits // 8)[..., ::-1]).reshape(data.shape)
    flat = np.unpackbits(data, axis=2)[:, :, : count * bits]
    spread[..., -bits:] = flat.reshape(*data.shape[:2], count, bits)
    return np.packbits(spread, axis=3).view(target.newbyteorder(">"))[..., 0].astype(target)


def _type(kind: str, bits: int) -> np.dtype:
    """The smallest type of a kind that holds so many bits."""
    return np.dtype(f"{kind}{next(size for size in (1, 2, 4, 8) if size * 8 >= bits)}")


def _decoded(tags: dict[int, Any], segments: list[bytes], height: int, tile_width: int | None) -> np.ndarray:
    """The pixels of strips, or tiles of ``tile_width``, under a header of these tags, as Pillow's libtiff decodes them."""
    from PIL import Image

    sizes = [len(segment) for segment in segments]
    offsets = (8 + np.cumsum([0, *sizes[:-1]])).tolist()
    if tile_width is None:
        tags = {**tags, 278: height, 273: offsets, 279: sizes}
    else:
        tags = {**tags, 322: tile_width, 323: height, 324: offsets, 325: sizes}
    with Image.open(io.BytesIO(_classic_tiff(tags, b"".join(segments))), formats=["TIFF"]) as image:
        found = np.array(image)
    return found.astype(np.uint8) if found.dtype == np.bool_ else found


def _classic_tiff(tags: dict[int, Any], data: bytes) -> bytes:
    """A little-endian TIFF of one page, its data behind the header's 8 bytes."""
    data += b"\0" * (len(data) % 2)
    directory, tail = struct.pack("<H", len(tags)), b""
    tail_at = 8 + len(data) + 2 + 12 * len(tags) + 4
    if tail_at > 2**32 - 2**20:
        raise ValueError("the page has more than 4 GB")
    for code, value in sorted(tags.items()):
        if isinstance(value, bytes):
            kind, count, packed = 7, len(value), value
        else:
            values = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
            kind, letter = (3, "H") if max(values) < 1 << 16 else (4, "I")
            count, packed = len(values), struct.pack(f"<{len(values)}{letter}", *values)
        directory += struct.pack("<HHI", code, kind, count)
        if len(packed) <= 4:
            directory += packed.ljust(4, b"\0")
        else:
            directory += struct.pack("<I", tail_at + len(tail))
            tail += packed + b"\0" * (len(packed) % 2)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return header + data + directory + struct.pack("<I", 0) + tail
