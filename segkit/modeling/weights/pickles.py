"""Reading a pickle of numpy arrays and plain values without running what is in it.

A pickle is a program: it names functions and calls them. Here it finds only those that put numpy arrays together, and
the plain containers; anything else that it names is refused before it is looked up.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _latin1(text: str, encoding: str) -> bytes:
    """What older protocols write for bytes: an encoded text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What they write for no bytes at all."""
    return b""


# numpy's own functions, whatever its version calls their modules: taken from what its arrays would pickle as.
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
    """Finds the functions in ``ALLOWED`` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return ALLOWED[module, name]


def read_pickle(file: Path) -> Any:
    """What a pickle holds.

    Raises:
        pickle.UnpicklingError: it names anything but numpy arrays and plain containers, or is damaged.
    """
    with file.open("rb") as stream:
        try:
            return PlainUnpickler(stream, encoding="latin1").load()  # as Python 2 wrote it
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # damaged bytes are a damaged program: they raise anything
            raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error
