"""Reads ``.roi`` files and zip archives of them with roifile, within bounds."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segkit.utils.errors import MissingPackage, SegkitError, first_few
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths.missing_files import leads_out

MAX_ROI = 64 << 20  # bytes of one ROI
MAX_ARCHIVE = 512 << 20  # bytes of all ROIs of an archive
MAX_MEMBERS = 1_000_000
INSTALL = "reading ImageJ's ROIs needs the package roifile: pip install 'segkit[imagej]'"
NUMBER_AT_END = re.compile(r"[\s_.:#()-]*\d*[\s)]*$")


def read_rois(file: Path) -> Iterator[tuple[str, Any]]:
    """The ROIs of a ``.roi`` or ``.zip`` file, each with where it is, for messages.

    Raises:
        MissingPackage: roifile is not installed.
        SegkitError: the file is no such file, or it unpacks to more than can be read.
    """
    try:
        import roifile
    except ImportError as error:
        raise MissingPackage(f"{file}: {INSTALL}") from error
    for where, data in roi_bytes(file):
        try:
            yield where, roifile.ImagejRoi.frombytes(data)
        except Exception as error:  # roifile raises many types for damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SegkitError(f"{where}: cannot be read as an ImageJ ROI ({reason:.200})") from error


def class_prefix(name: str) -> str:
    """A ROI's name without its number.

    >>> class_prefix("nucleus_12"), class_prefix("nucleus (3)"), class_prefix("0012-0345")
    ('nucleus', 'nucleus', '')
    """
    previous, name = None, name.removesuffix(".roi").strip()
    while name != previous:
        previous, name = name, NUMBER_AT_END.sub("", name)
    return name


def roi_bytes(file: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of each ROI of a file."""
    try:
        if file.suffix.lower() != ".zip":
            if file.stat().st_size > MAX_ROI:
                raise SegkitError(f"{file}: has {file.stat().st_size} bytes; a ROI has at most {MAX_ROI}")
            yield str(file), file.read_bytes()
            return
        with zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _check(file, infos)
            rois = [info for info in infos if _is_roi(info.filename)]
            if not rois:
                names = first_few([info.filename for info in infos], 3) or "nothing"
                raise SegkitError(f"{file}: holds no .roi file; it holds {names}")
            for info in rois:
                with archive.open(info) as stream:
                    data = stream.read(info.file_size + 1)
                yield f"{file}: {info.filename}", data
    except SegkitError:
        raise
    except Exception as error:  # zipfile raises a dozen types of errors for damaged archives
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SegkitError(f"{file}: cannot be read ({reason:.200})") from error


def _is_roi(name: str) -> bool:
    """Whether a member of an archive is a ROI; macOS adds files ``__MACOSX/._NAME.roi``, which are skipped."""
    return name.lower().endswith(".roi") and not any(map(is_system_file, name.split("/")))


def _check(file: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Raises a SegkitError for an archive that is too large when unpacked, or has names that leave it."""
    if len(infos) > MAX_MEMBERS:
        raise SegkitError(f"{file}: holds {len(infos)} files; at most {MAX_MEMBERS} are read")
    total = 0
    for info in infos:
        total += info.file_size
        if info.file_size > MAX_ROI or total > MAX_ARCHIVE:
            raise SegkitError(
                f"{file}: unpacks to more than can be read ('{info.filename:.60}' to {info.file_size} bytes); a ROI has "
                f"at most {MAX_ROI} bytes, all of an archive {MAX_ARCHIVE}"
            )
        if leads_out(info.filename):
            raise SegkitError(f"{file}: the name '{info.filename:.60}' leads out of the archive")
