"""The packages that segkit needs and their installed versions, without importing them."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from dataclasses import dataclass

import segkit

PYTHON = (3, 10)


@dataclass(frozen=True)
class Requirement:
    """A package that segkit needs.

    Attributes:
        name: its name for pip.
        minimum: the oldest supported version; empty: any.
        without: what happens without the package; empty: segkit does not work.
    """

    name: str
    minimum: str = ""
    without: str = ""

    def version(self) -> str | None:
        """The installed version; None if the package is not installed."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def problem(self) -> str | None:
        """Missing or too old, with the command that mends it; None if the package is usable."""
        version = self.version()
        specifier = self.name + (f">={self.minimum}" if self.minimum else "")
        if version is None:
            return f"{self.name} is not installed: pip install '{specifier}'"
        if self.minimum and version_tuple(version) < version_tuple(self.minimum):
            return f"{self.name} {version} is older than {self.minimum}: pip install --upgrade '{specifier}'"
        return None


# The same as in setup.py; tests/test_doctor.py compares them.
REQUIREMENTS = (
    Requirement("torch", "2.11"),
    Requirement("torchvision", "0.26"),
    Requirement("fvcore"),
    Requirement("iopath"),
    Requirement("pycocotools", "2.0.8"),
    Requirement("tabulate"),
    Requirement("termcolor"),
    Requirement("numpy"),
    Requirement("pyyaml"),
    Requirement("pillow", "10.1"),
    Requirement("matplotlib"),
    Requirement("tensorboard"),
    Requirement("hotcoco", "1.2", without="pycocotools evaluates, which takes longer for the same values"),
    Requirement("jinja2", "3"),
    Requirement("markupsafe", "2"),
    Requirement("tifffile", "2024.8.10"),
)
OPTIONAL = (
    Requirement("roifile", without="ImageJ's regions of interest (.roi, RoiSet.zip) cannot be read"),
    Requirement(
        "imagecodecs", without="TIFF files of rare compressions cannot be read: JPEG XL, LERC, JPEG of 12 bits"
    ),
)


def version_tuple(version: str) -> tuple[int, ...]:
    """Converts ``2.14.1+cu130`` to (2, 14, 1), for comparisons."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+a-z]", version)[0]))


def problems() -> list[str]:
    """Problems with Python and the required packages, each with the command that mends it."""
    found = [problem for r in REQUIREMENTS if not r.without and (problem := r.problem())]
    if sys.version_info[:2] < PYTHON:
        here, minimum = ".".join(map(str, sys.version_info[:2])), ".".join(map(str, PYTHON))
        found.insert(0, f"this is Python {here}; {minimum} or later is needed")
    return found


def notes() -> list[str]:
    """Packages that are missing or too old, and what happens without them."""
    packages = (r for r in (*REQUIREMENTS, *OPTIONAL) if r.without)
    return [f"{problem}; without it {r.without}" for r in packages if (problem := r.problem())]


def package_rows() -> list[tuple[str, str]]:
    """Rows (name, installed version) of segkit, Python, all packages and the system."""
    rows = [("segkit", segkit.__version__), ("python", f"{platform.python_version()} ({sys.executable})")]
    rows += [(requirement.name, requirement.version() or "missing") for requirement in REQUIREMENTS]
    rows += [(requirement.name, version) for requirement in OPTIONAL if (version := requirement.version())]
    return [*rows, ("system", platform.platform())]
