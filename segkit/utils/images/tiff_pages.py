"""Which pages of a TIFF file are images, and what they are: time points, z planes, channels.

tifffile reads the axes of ImageJ, OME, MetaMorph, Micro-Manager, LSM and its own files. They are used only where they
agree with the number of planes that the file has.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images.planes import Planes, select_scene
from segkit.utils.images.tiff_segments import PagePart

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

REDUCED, MASK = 1, 4  # bits of NewSubfileType
IN_PAGE = "YXS"  # axes of a single page


@dataclass(frozen=True)
class TiffStack:
    """The planes of a file, each a page or a part of one.

    Attributes:
        count: number of planes in the file.
        axes: length of each axis by its letter (T, Z, C, and P for all others), the last running fastest.
        page: returns a plane by its index.
        channel_names: along the axis C, or of the samples of a page; empty if unknown.
    """

    count: int
    axes: Mapping[str, int]
    page: Callable[[int], TiffPage]
    channel_names: tuple[str, ...] = field(default=())


def find_planes(file: TiffFile, name: str, planes: Planes) -> TiffStack:
    """The planes of a TIFF that are neither thumbnails nor masks.

    Args:
        file: opened.
        name: the file, for messages.
        planes: which scene.
    Raises:
        SegkitError: several scenes, none selected, or one that the file lacks.
    """
    images = _main_pages(file)
    main = file.pages[images[0]].aspage()
    if main.subfiletype & REDUCED and 330 in main.tags:
        raise SegkitError(f"{name}: its page is a thumbnail, the image is in a sub-directory; save it as a plain TIFF")
    slices = _count_slices(main) if len(images) == 1 else 1
    count = len(images) if len(images) > 1 else slices
    series = _described_series(file, count, name, planes)
    names = _channel_names(file, planes.scene or 0)
    if count == 1:
        return TiffStack(1, {}, lambda _: main, names)
    if series is None:
        return TiffStack(count, {"P": count}, _page_getter(file, images, main, slices))
    axes, order = _page_axes(series)
    get = _page_getter(file, images, main, slices)
    if len(images) > 1 and len(series.pages) == order.size:  # OME files may store their planes in any order
        return TiffStack(count, axes, lambda k: _existing(series.pages[int(order[k])], name), names)
    return TiffStack(count, axes, lambda k: get(int(order[k])), names)


def _main_pages(file: TiffFile) -> list[int]:
    """Indices of the pages that are neither a thumbnail nor a mask; all pages if there is none."""
    subfile_types: dict[int, int] = {}  # by the directory's offset: in damaged files the directories form a circle
    for page in file.pages:
        if page.offset in subfile_types:
            break
        subfile_types[page.offset] = getattr(page, "subfiletype", 0)
    if not subfile_types:
        raise ValueError("it has no page")
    images = [k for k, kind in enumerate(subfile_types.values()) if not kind & (REDUCED | MASK)]
    return images or list(range(len(subfile_types)))


def _page_getter(file: TiffFile, images: Sequence[int], main: TiffPage, slices: int) -> Callable[[int], Any]:
    """Returns a plane by its index: a page, or a slice of the only page."""
    if len(images) > 1:
        return lambda k: file.pages[images[k]].aspage()
    return lambda k: PageSlice(main, k, slices)


def _existing(page: Any, name: str) -> Any:
    if page is None:
        raise SegkitError(f"{name}: this plane is missing in the file")
    return page.aspage()


class PageSlice(PagePart):
    """One image of a page that holds several, with the attributes of a page of its own.

    Args:
        page: of a volume, or with the data of all images uncompressed one after the other.
        index: of the image.
        count: number of images.
    """

    def __init__(self, page: TiffPage, index: int, count: int) -> None:
        self._page, self._index = page, index
        self.imagelength, self.imagewidth = page.imagelength, page.imagewidth
        self.is_volume = page.imagedepth > 1
        if self.is_volume:
            return
        bits = page.bitspersample
        if int(page.compression) != 1 or page.is_tiled or not isinstance(bits, int) or page.planarconfig == 2:
            raise SegkitError(f"{page.parent.filename}: holds {count} images in one page, compressed; save it as pages")
        row = math.ceil(page.imagewidth * page.samplesperpixel * bits / 8)
        start = page.dataoffsets[0] + index * row * page.imagelength
        self.dataoffsets, self.databytecounts = (start,), (row * page.imagelength,)
        self.rowsperstrip = page.imagelength

    def asarray(self, squeeze: bool = False, maxworkers: int = 1) -> np.ndarray:
        """The samples by tifffile, ``[planes, 1, rows, columns, samples]``."""
        page = self._page
        if self.is_volume:
            return page.asarray(squeeze=False, maxworkers=1)[:, self._index : self._index + 1]
        assert page.dtype is not None
        file = page.parent.filehandle
        file.seek(self.dataoffsets[0])
        data = np.frombuffer(file.read(self.databytecounts[0]), page.dtype.newbyteorder(page.parent.byteorder))
        return data.reshape(1, 1, self.imagelength, self.imagewidth, page.samplesperpixel)


def _page_axes(series: TiffPageSeries) -> tuple[dict[str, int], np.ndarray]:
    """Axes of a series' pages, unknown ones joined to P, and the index of the page at each of their positions."""
    leading = [(axis, length) for axis, length in zip(series.axes, series.shape, strict=True) if axis not in IN_PAGE]
    indices = np.arange(math.prod(length for _, length in leading)).reshape([length for _, length in leading])
    unknown = [i for i, (axis, _) in enumerate(leading) if axis not in "TZC"]
    known = [i for i, (axis, _) in enumerate(leading) if axis in "TZC"]
    axes = {"P": math.prod(leading[i][1] for i in unknown)} if unknown else {}
    axes |= {leading[i][0]: leading[i][1] for i in known}
    return axes, indices.transpose([*unknown, *known]).reshape(-1)


def _described_series(file: TiffFile, count: int, name: str, planes: Planes) -> TiffPageSeries | None:
    """The series whose axes describe the planes; None if the file states none, or not for all of its planes."""
    found: list[TiffPageSeries] = []
    if count > 1:
        with contextlib.suppress(Exception):  # tifffile raises errors of many types for damaged descriptions
            found = list(file.series)
    if file.is_ome and len(found) > 1:
        scenes = [f"{i}: {series.name or 'scene'} {series.axes} {series.shape}" for i, series in enumerate(found)]
        return found[select_scene(planes, scenes, name)]
    select_scene(planes, [name], name)
    if not found or not set(found[0].axes) & set("TZC"):
        return None
    described = math.prod(n for axis, n in zip(found[0].axes, found[0].shape, strict=True) if axis not in IN_PAGE)
    return found[0] if described == count else None


def _channel_names(file: TiffFile, scene: int) -> tuple[str, ...]:
    """Names of the channels in the descriptions of OME, ImageJ and Micro-Manager; empty if there are none."""
    try:
        if file.is_ome and file.ome_metadata and "<!DOCTYPE" not in file.ome_metadata:
            images = ElementTree.fromstring(file.ome_metadata).iterfind("{*}Image")
            pixels = [image.find("{*}Pixels") for image in images]
            found = pixels[scene] if scene < len(pixels) else None
            names = [] if found is None else [channel.get("Name", "") for channel in found.iterfind("{*}Channel")]
        elif file.is_imagej and file.imagej_metadata:
            about = file.imagej_metadata
            labels, channels = about.get("Labels") or [], int(about.get("channels", 1))
            names = [str(label) for label in labels[:channels]] if channels > 1 and len(labels) >= channels else []
        elif file.is_micromanager and file.micromanager_metadata:
            names = [str(one) for one in file.micromanager_metadata.get("Summary", {}).get("ChNames", [])]
        else:
            names = []
    except Exception:  # damaged metadata of any kind: the names are only for messages and data.channels
        return ()
    return tuple(names) if all(names) else ()


def _count_slices(page: TiffPage) -> int:
    """Number of images in one directory: volumes, stacks of ImageJ, tifffile and MetaMorph."""
    if page.imagedepth > 1:
        return int(page.imagedepth)
    planes = page.tags.get(33629)  # UIC2tag: one entry a plane
    if planes is not None and planes.count > 1:
        return int(planes.count)
    if int(page.compression) != 1 or page.is_tiled or not page.dataoffsets or not isinstance(page.bitspersample, int):
        return 1
    row = math.ceil(page.imagewidth * page.samplesperpixel * page.bitspersample / 8)
    size = row * page.imagelength
    start = page.dataoffsets[0]
    end = page.offset if page.offset > start else page.parent.filehandle.size
    fitting = (end - start) // size if size else 0
    stored = page.databytecounts[0] // size if size and len(page.databytecounts) == 1 else 0
    # A slice that was saved on its own keeps the description of its stack: believe it only if a second slice fits.
    return max(_described_slices(page) if fitting > 1 else 1, stored)


def _described_slices(page: TiffPage) -> int:
    """The number of images that the ImageDescription of ImageJ or tifffile states.

    1 if it states none.
    """
    text = page.description
    if text.startswith("ImageJ=") and (images := re.search(r"^images=(\d+)", text, re.MULTILINE)):
        return int(images[1])
    if text.startswith("{"):  # tifffile's keys have no order
        try:
            shape = json.loads(text)["shape"]
            return int(math.prod(shape)) // math.prod(page.shape)
        except (ValueError, KeyError, TypeError):
            return 1
    return 1
