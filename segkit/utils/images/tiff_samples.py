"""The samples of one TIFF page, of any type, packing and compression.

tifffile decodes uncompressed and deflated pages. For other compressions it needs the package imagecodecs, which is 80 MB
installed (tifffile: 2 MB) and therefore optional. This module uses the libtiff inside Pillow instead: it writes the
compressed strips or tiles under a new header that declares them as 8-bit grey (or colour), so that libtiff decompresses
the bytes and Pillow converts nothing.

imagecodecs, if installed, decodes only what Pillow's libtiff cannot: JPEG 2000, JPEG XL, WebP, LERC, 12-bit JPEG, and
Zstandard before Pillow 12. So the samples of a file do not depend on the installed packages.
"""

from __future__ import annotations

import functools
import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.utils.errors import MissingPackage, SegkitError
from segkit.utils.images.image_source import Window
from segkit.utils.images.tiff_segments import PagePart, can_read_parts, part_of, read_segments, segment_grid

if TYPE_CHECKING:
    from tifffile import TiffPage

NONE, LZW, JPEG, ADOBE_DEFLATE, PACKBITS, DEFLATE, LZMA, ZSTD = 1, 5, 7, 8, 32773, 32946, 34925, 50000
FAX = (2, 3, 4)
SAMPLE_CODECS = (*FAX, JPEG)  # these encode samples, not bytes
BYTE_CODECS = (NONE, LZW, ADOBE_DEFLATE, PACKBITS, DEFLATE, LZMA, ZSTD)
TIFFFILE_CODECS = (NONE, ADOBE_DEFLATE, DEFLATE)  # without imagecodecs
YCBCR = 6
KINDS = {2: "i", 3: "f"}  # by SampleFormat; all others are unsigned integers, as in libtiff
_GREY = {258: 8, 262: 1, 277: 1, 284: 1}  # tags of 8-bit grey
CHUNK = 1 << 26  # bytes decompressed at once


def read_window(page: TiffPage, name: str, window: Window | None) -> np.ndarray:
    """Reads the samples of a window of a page, from the strips or tiles that it touches.

    The result is that of :func:`read_samples`, cropped; None: all of it.
    """
    if window is None or window == (0, 0, page.imagewidth, page.imagelength):
        return read_samples(page, name)
    x0, y0, x1, y1 = window
    if not can_read_parts(page):
        return read_samples(page, name)[y0:y1, x0:x1]
    part = part_of(page, window)
    found = read_samples(part, name)
    return found if found.shape[:2] == (y1 - y0, x1 - x0) else found[part.inner]  # tifffile's is the window already


def read_samples(page: TiffPage | PagePart, name: str) -> np.ndarray:
    """Reads all samples of a page; YCbCr is converted to RGB.

    Args:
        page: a page of an open file, or a part of one.
        name: the file, for messages.
    Returns:
        ``[H, W, C]`` in the smallest integer or float type that holds a sample's bits.
    Raises:
        SegkitError: the sample type or the compression cannot be read.
        Exception: the data are damaged.
    """
    if page.imagedepth > 1:
        return _read_with_tifffile(page, name)
    bits, codec, samples = page.bitspersample, int(page.compression), page.samplesperpixel
    if not isinstance(bits, int):
        raise SegkitError(f"{name}: its channels have different numbers of bits ({', '.join(map(str, bits))})")
    formats = page.tags.valueof(339, 1)
    formats = {int(kind) for kind in (formats[:samples] if isinstance(formats, tuple) else (formats,))}
    if len(formats) > 1 or formats & {5, 6} or (3 in formats and bits not in (16, 32, 64)) or not 1 <= bits <= 64:
        raise SegkitError(
            f"{name}: its samples have {bits} bits and SampleFormat {', '.join(map(str, sorted(formats)))}; expected "
            "integers, or floats of 16, 32 or 64 bits"
        )
    if codec in (NONE, PACKBITS) and page.predictor != 1:
        raise SegkitError(f"{name}: has a predictor, which its compression does not support; save it again")
    if codec == ZSTD and not _libtiff_decodes_zstd():
        return _read_with_tifffile(page, name)
    ycbcr = int(page.photometric) == YCBCR and samples > 1
    if ycbcr and (samples, bits) != (3, 8):
        raise SegkitError(f"{name}: is YCbCr with {samples} channels of {bits} bits; expected 3 of 8 bits, or RGB")
    if ycbcr and codec not in (*BYTE_CODECS, *SAMPLE_CODECS):
        raise SegkitError(f"{name}: is YCbCr with the compression {_codec_name(page)}; save it as RGB")
    plain = bits == 8 and samples in (1, 3) and formats == {1} and page.planarconfig == 1 and codec in BYTE_CODECS
    if bits == (1 if codec in FAX else 8) and (codec in SAMPLE_CODECS or ycbcr):
        return _read_with_libtiff(page, ycbcr)
    if plain and codec not in TIFFFILE_CODECS:
        return _read_with_libtiff(page, ycbcr=False)
    tifffile_unpacks = bits in (8, 16, 32, 64) and page.predictor in (1, 2) and page.dtype is not None
    if codec in BYTE_CODECS and not (codec in TIFFFILE_CODECS and tifffile_unpacks):
        return _decompress_and_unpack(page, KINDS.get(formats.pop(), "u"), name)
    return _read_with_tifffile(page, name)


def _read_with_tifffile(page: TiffPage | PagePart, name: str) -> np.ndarray:
    """Reads a page by tifffile; MissingPackage if that needs imagecodecs, which is not installed."""
    read_segments(page, check_only=True)
    try:
        found = page.asarray(squeeze=False, maxworkers=1)  # [planes, depth, H, W, samples]
    except (ValueError, NotImplementedError, ImportError) as error:
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
        raise MissingPackage(
            f"{name}: {page.bitspersample} bits a sample with the compression {_codec_name(page)} need the package "
            "imagecodecs: pip install imagecodecs, or save the file without compression"
        ) from error
    found = np.moveaxis(found[:, 0, ..., 0], 0, 2) if page.planarconfig == 2 else found[0, 0]
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _codec_name(page: TiffPage | PagePart) -> str:
    return str(getattr(page.compression, "name", page.compression))


@functools.cache
def _libtiff_decodes_zstd() -> bool:
    """Whether Pillow's libtiff decodes Zstandard, tried on one byte."""
    frame = bytes.fromhex("28b52ffd200109000007")  # magic number, size 1, one raw block of one byte: 7
    try:
        return int(_decode({**_GREY, 256: 1, 257: 1, 259: ZSTD}, [frame], 1, None)[0, 0]) == 7
    except OSError:
        return False


def _read_with_libtiff(page: TiffPage | PagePart, ycbcr: bool) -> np.ndarray:
    """Reads a page of 8 bits (fax: 1 bit) by libtiff, under tags that Pillow does not convert."""
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    samples = page.samplesperpixel // planes
    photometric = YCBCR if ycbcr else {1: 1, 2: 1, 3: 2, 4: 5}.get(samples)
    if photometric is None or (ycbcr and planes > 1):
        raise ValueError(f"{page.samplesperpixel} samples of compression {int(page.compression)} in {planes} planes")
    _, _, height, width = segment_grid(page)
    segments, codec = read_segments(page), int(page.compression)
    if ycbcr and codec == NONE:  # Pillow reads these without libtiff, and ignores chroma subsampling
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
        _decode(tags, segments[k * each : (k + 1) * each], height, width if page.is_tiled else None)
        for k in range(planes)
    ]
    return np.concatenate([part[:, :, None] if part.ndim == 2 else part for part in parts], axis=2)


def _decompress_and_unpack(page: TiffPage | PagePart, kind: str, name: str) -> np.ndarray:
    """Reads a page of any number of bits: libtiff decompresses it, NumPy unpacks it."""
    from PIL import Image

    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    samples, bits = page.samplesperpixel // planes, page.bitspersample
    predictor = int(page.predictor)
    if predictor not in (1, 2, 3) or (predictor == 2 and bits % 8) or (predictor == 3 and kind != "f"):
        raise SegkitError(f"{name}: predictor {predictor} does not exist for samples of {bits} bits; save it again")
    down, across, height, width = segment_grid(page)
    segments = read_segments(page)
    row_bytes = math.ceil(width * samples * bits / 8)
    chunk = min(CHUNK, Image.MAX_IMAGE_PIXELS or CHUNK)  # each byte is a pixel to Pillow, and counts towards its limit
    group = max(1, chunk // (height * across * row_bytes))  # rows of segments decompressed at once
    found = np.empty((page.imagelength, page.imagewidth, page.samplesperpixel), _sample_dtype(kind, bits))
    for plane in range(planes):
        for first in range(0, down, group):
            top, count = first * height, min(group, down - first)
            rows = count * height if page.is_tiled else min(count * height, page.imagelength - top)
            tags = {
                **_GREY, 256: across * row_bytes, 257: rows, 259: int(page.compression), 266: int(page.fillorder),
            }  # fmt: skip
            start = (plane * down + first) * across
            part = segments[start : start + count * across]
            data = _decode(tags, part, height, row_bytes if page.is_tiled else None).reshape(rows, across, row_bytes)
            unpacked = _unpack(data, width, samples, bits, kind, page)
            unpacked = unpacked.reshape(rows, across * width, samples)[: page.imagelength - top, : page.imagewidth]
            found[top : top + rows, :, plane * samples : (plane + 1) * samples] = unpacked
    return found


def _unpack(data: np.ndarray, width: int, samples: int, bits: int, kind: str, page: TiffPage | PagePart) -> np.ndarray:
    """Unpacks bytes ``[rows, segments, bytes]`` to samples ``[rows, segments, width, samples]``.

    Predictors are undone.
    """
    order, count, lead = page.parent.byteorder, width * samples, data.shape[:2]
    if page.predictor == 3:  # floating point: byte differences, grouped by the bytes' significance
        data = np.cumsum(data.reshape(*lead, -1, samples), axis=2, dtype=np.uint8)
        data = np.ascontiguousarray(np.moveaxis(data.reshape(*lead, bits // 8, count), 2, 3)).reshape(*lead, -1)
        order = ">"
    if bits in (8, 16, 32, 64):
        unpacked = np.ascontiguousarray(data).view(f"{order}u{bits // 8}")
        unpacked = unpacked.astype(unpacked.dtype.newbyteorder("="), copy=False).reshape(*lead, width, samples)
    else:
        unpacked = _unpack_odd_bits(data, count, bits, order).reshape(*lead, width, samples)
    if page.predictor == 2:  # horizontal differences
        unpacked = np.cumsum(unpacked, axis=2, dtype=unpacked.dtype)
        if bits not in (8, 16, 32, 64):
            unpacked &= np.array(2**bits - 1, unpacked.dtype)
    if kind == "i" and unpacked.dtype.itemsize * 8 > bits:  # extend the sign bit
        sign = np.array(1 << (bits - 1), unpacked.dtype)
        unpacked = (unpacked ^ sign) - sign
    return unpacked.view(_sample_dtype(kind, bits))


def _unpack_odd_bits(data: np.ndarray, count: int, bits: int, order: str) -> np.ndarray:
    """Unpacks samples of a width that NumPy lacks.

    Samples of whole bytes have the file's byte order, all others start at the highest bit.
    """
    target = _sample_dtype("u", bits)
    spread = np.zeros((*data.shape[:2], count, target.itemsize * 8), np.uint8)
    if bits % 8 == 0 and order == "<":
        data = np.ascontiguousarray(data.reshape(*data.shape[:2], count, bits // 8)[..., ::-1]).reshape(data.shape)
    flat = np.unpackbits(data, axis=2)[:, :, : count * bits]
    spread[..., -bits:] = flat.reshape(*data.shape[:2], count, bits)
    return np.packbits(spread, axis=3).view(target.newbyteorder(">"))[..., 0].astype(target)


def _sample_dtype(kind: str, bits: int) -> np.dtype:
    """The smallest NumPy type of a kind (``u``, ``i``, ``f``) that holds ``bits`` bits."""
    return np.dtype(f"{kind}{next(size for size in (1, 2, 4, 8) if size * 8 >= bits)}")


def _decode(tags: dict[int, Any], segments: list[bytes], height: int, tile_width: int | None) -> np.ndarray:
    """Decodes strips, or tiles of ``tile_width``, under these tags, by Pillow's libtiff."""
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
    """A little-endian TIFF of one page: the header of 8 bytes, the data, the directory."""
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
