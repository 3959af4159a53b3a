"""The size of a pixel, from what image files say about it."""

from __future__ import annotations

import contextlib
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

# Micrometres of each unit of length, by its names in lower case. Other units (pixels, degrees) are not lengths.
MICROMETRES = {
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0, "μm": 1.0, "\\u00b5m": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "pm": 1e-6, "picometer": 1e-6, "picometre": 1e-6,
    "å": 1e-4, "angstrom": 1e-4,
    "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
# Coarser resolutions in the tags of a plain file are those of a print or a screen, such as 72, 96 or 300 dots an inch.
FINEST_PRINT = 25.4  # micrometres: 1,000 dots an inch
INCH, CENTIMETRE = 2, 3  # TIFF's ResolutionUnit


@dataclass(frozen=True)
class PixelSize:
    """Width and height of a pixel in micrometres, both finite and above 0."""

    width: float
    height: float

    @property
    def area(self) -> float:
        """In square micrometres."""
        return self.width * self.height

    @property
    def is_square(self) -> bool:
        """Whether the sides differ by less than a thousandth."""
        return math.isclose(self.width, self.height, rel_tol=1e-3)

    def turned(self, orientation: int) -> PixelSize:
        """The pixel size of the upright image; ``orientation`` is EXIF's, 1 to 8."""
        return PixelSize(self.height, self.width) if orientation in (5, 6, 7, 8) else self


def pixel_size_in(width: Any, height: Any, unit: str | None) -> PixelSize | None:
    """A pixel size in a unit of length.

    None if the unit is unknown, or a side is not a number above 0.
    """
    factor = MICROMETRES.get(str(unit).strip().replace("µ", "μ").lower())
    try:
        sides = float(width), float(height)
    except (TypeError, ValueError):
        return None
    if factor is None or not all(math.isfinite(side) and 0 < side * factor < math.inf for side in sides):
        return None
    return PixelSize(sides[0] * factor, sides[1] * factor)


def from_dots_per_inch(horizontal: Any, vertical: Any) -> PixelSize | None:
    """The pixel size of a plain file; None if the resolution is that of a print or a screen."""
    try:
        found = pixel_size_in(1 / float(horizontal), 1 / float(vertical), "inch")
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return found if found is not None and max(found.width, found.height) < FINEST_PRINT else None


def tiff_pixel_size(file: TiffFile, page: TiffPage, scene: int) -> PixelSize | None:
    """The pixel size of a TIFF's image.

    From the descriptions of OME, ImageJ, MetaMorph, LSM and Aperio, else from the tags of the page.

    Args:
        file: opened.
        page: of the image.
        scene: index of the image of an OME-TIFF.
    """
    for read in (_from_ome, _from_imagej, _from_microscope, _from_aperio):
        with contextlib.suppress(Exception):  # damaged descriptions of any kind hold no pixel size
            if (found := read(file, page, scene)) is not None:
                return found
    unit = page.tags.valueof(296, INCH)
    if unit not in (INCH, CENTIMETRE):
        return None
    per_inch = 1.0 if unit == INCH else 2.54
    sides = [_ratio(page.tags.valueof(code)) * per_inch for code in (282, 283)]
    return from_dots_per_inch(*sides)


def _from_ome(file: TiffFile, page: TiffPage, scene: int) -> PixelSize | None:
    text = file.ome_metadata if file.is_ome else None
    if not text or "<!DOCTYPE" in text:
        return None
    pixels = [image.find("{*}Pixels") for image in ElementTree.fromstring(text).iterfind("{*}Image")]
    found = pixels[scene] if scene < len(pixels) else None
    if found is None:
        return None
    sides = [
        pixel_size_in(found.get(f"PhysicalSize{axis}"), 1, found.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"
    ]
    x, y = sides
    return None if x is None or y is None else PixelSize(x.width, y.width)


def _from_imagej(file: TiffFile, page: TiffPage, scene: int) -> PixelSize | None:
    about = file.imagej_metadata if file.is_imagej else None
    if not about or "unit" not in about:
        return None
    x, y = _ratio(page.tags.valueof(282)), _ratio(page.tags.valueof(283))
    if (
        about["unit"] == "inch"
    ):  # ImageJ takes it from the tags of the file that it opened, which may be those of a print
        return from_dots_per_inch(x, y)
    return pixel_size_in(1 / x, 1 / y, about["unit"])


def _from_microscope(file: TiffFile, page: TiffPage, scene: int) -> PixelSize | None:
    if file.is_lsm and file.lsm_metadata:
        about: Mapping[str, Any] = file.lsm_metadata
        return pixel_size_in(about["VoxelSizeX"], about["VoxelSizeY"], "m")
    if file.is_stk and file.stk_metadata and file.stk_metadata.get("SpatialCalibration"):
        about = file.stk_metadata
        x, y = (_ratio(about[key]) for key in ("XCalibration", "YCalibration"))
        return pixel_size_in(x, y, about.get("CalibrationUnits"))
    return None


def _from_aperio(file: TiffFile, page: TiffPage, scene: int) -> PixelSize | None:
    found = re.search(r"\|\s*MPP\s*=\s*([\d.]+)", page.description) if page.description.startswith("Aperio") else None
    return None if found is None else pixel_size_in(found[1], found[1], "um")


def _ratio(value: Any) -> float:
    """A rational of a TIFF; 0 if there is none."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return float(Fraction(int(value[0]), int(value[1]))) if value[1] else 0.0
    return float(value or 0)


def zarr_pixel_size(image: Mapping[str, Any], axes: str) -> PixelSize | None:
    """The pixel size of an OME-Zarr image's finest level.

    Args:
        image: an entry of its ``multiscales``.
        axes: a letter an axis, X and Y among them.
    """
    try:
        units = [one.get("unit") if isinstance(one, dict) else None for one in image.get("axes", [])]
        scales = [1.0] * len(axes)
        for transforms in (
            image["datasets"][0].get("coordinateTransformations", []),
            image.get("coordinateTransformations", []),
        ):
            for one in transforms:
                if one.get("type") == "scale":
                    scales = [a * float(b) for a, b in zip(scales, one["scale"], strict=True)]
        at = [axes.index(axis) for axis in "XY"]
        x, y = (pixel_size_in(scales[i], 1, units[i]) for i in at)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    return None if x is None or y is None else PixelSize(x.width, y.width)
