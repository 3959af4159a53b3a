"""Reads a pickle of numpy arrays and plain values without running code in it.

A pickle is a program that calls functions by name. Only the functions that build numpy arrays and plain containers are
available to it here; any other name is refused before it is imported.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes from encoded text, as older protocols write them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Empty bytes, as older protocols write them."""
    return b""


# numpy's own functions, taken from what its arrays pickle as, since their modules' names depend on the version.
_RECONSTRUCT: Any = np.zeros(1).__reduce__()[0]
_FROM_BUFFER: Any = np.zeros(1).__reduce_ex__(5)[0]
_SCALAR: Any = np.float32(0).__reduce__()[0]
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _RECONSTRUCT for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _SCALAR for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FROM_BUFFER for core in ("core", "_core")},
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,
}


class PlainUnpickler(pickle.Unpickler):
    """An unpickler that can only call the functions in ``ALLOWED``."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return ALLOWED[module, name]


def read_pickle(file: Path) -> Any:
    """The content of a pickle.

    Raises:
        pickle.UnpicklingError: it names anything but numpy arrays and plain containers, or is damaged.
    """
    with file.open("rb") as stream:
        try:
            return PlainUnpickler(stream, encoding="latin1").load()  # for files written by Python 2
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # a damaged pickle may raise any exception
            raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error
