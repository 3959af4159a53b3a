"""What segkit needs to be installed, looked up without importing any of it."""

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
    """A distribution.

    Attributes:
        name: as pip has it.
        minimum: the oldest version that works; empty: any.
        without: what happens without it; empty: segkit does not work.
    """

    name: str
    minimum: str = ""
    without: str = ""

    def version(self) -> str | None:
        """The version that is installed; None: it is not."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def problem(self) -> str | None:
        """What is wrong, and what to type; None: nothing."""
        version = self.version()
        wanted = self.name + (f">={self.minimum}" if self.minimum else "")
        if version is None:
            return f"{self.name} is not installed: pip install '{wanted}'"
        if self.minimum and numbers(version) < numbers(self.minimum):
            return f"{self.name} {version} is older than {self.minimum}: pip install --upgrade '{wanted}'"
        return None


# As in setup.py; tests/test_doctor.py compares them.
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
    Requirement("hotcoco", "1.2", without="pycocotools evaluates, which takes longer and gives the same values"),
    Requirement("tifffile", "2024.8.10"),
)
OPTIONAL = (
    Requirement(
        "imagecodecs", without="TIFF files of rare compressions cannot be read: JPEG XL, LERC, JPEG of 12 bits"
    ),
)


def numbers(version: str) -> tuple[int, ...]:
    """``2.14.1+cu130`` as (2, 14, 1), for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+a-z]", version)[0]))


def problems() -> list[str]:
    """What keeps segkit from working, each problem with the command that helps."""
    found = [problem for r in REQUIREMENTS if not r.without and (problem := r.problem())]
    if sys.version_info[:2] < PYTHON:
        here, wanted = ".".join(map(str, sys.version_info[:2])), ".".join(map(str, PYTHON))
        found.insert(0, f"this is Python {here}; {wanted} or later is needed")
    return found


def notes() -> list[str]:
    """What is missing or too old, and segkit works without."""
    packages = (r for r in (*REQUIREMENTS, *OPTIONAL) if r.without)
    return [f"{problem}; without it {r.without}" for r in packages if (problem := r.problem())]


def package_rows() -> list[tuple[str, str]]:
    """Versions, for a table."""
    rows = [("segkit", segkit.__version__), ("python", f"{platform.python_version()} ({sys.executable})")]
    rows += [(requirement.name, requirement.version() or "missing") for requirement in REQUIREMENTS]
    rows += [(requirement.name, version) for requirement in OPTIONAL if (version := requirement.version())]
    return [*rows, ("system", platform.platform())]
