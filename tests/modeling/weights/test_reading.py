"""Valid checkpoint files are read; files that would run code are refused."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segkit.modeling.weights.loading import load_checkpoint
from segkit.modeling.weights.reading import read_file
from segkit.utils.errors import SegkitError


class Command:
    """Unpickled by Python itself, it runs a command in the shell."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch '{marker}'"

    def __reduce__(self):
        return os.system, (self.command,)


class Import:
    """The same through ``exec``."""

    def __init__(self, marker: Path) -> None:
        self.code = f"open({str(marker)!r}, 'w')"

    def __reduce__(self):
        return exec, (self.code,)


def by_pickle(content: object, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


WRITERS = {
    "pickle 0": lambda content, path: by_pickle(content, path, 0),
    "pickle 2": lambda content, path: by_pickle(content, path, 2),
    "pickle 5": lambda content, path: by_pickle(content, path, 5),
    "torch": torch.save,
    "old torch": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("hostile", [Command, Import])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_hostile_files_are_refused_and_do_not_run(write, hostile, suffix, tmp_path):
    marker = tmp_path / "marker"
    weights = {"stem.conv1.weight": np.zeros((2, 3), dtype=np.float32)}
    content = {"model": weights, "__author__": "Detectron2 Model Zoo", "extra": hostile(marker)}
    path = tmp_path / f"model{suffix}"
    write(content, path)
    with pytest.raises(SegkitError, match=r"model\.p.*more than tensors and plain values.*could run code"):
        load_checkpoint(nn.Linear(1, 1), str(path))
    assert not marker.exists()
    if write is WRITERS["pickle 0"]:  # what was refused does run where it is believed
        pickle.loads(path.read_bytes())
        assert marker.exists()


def program(module: str, name: str, argument: str) -> bytes:
    """A pickle of protocol 4 that calls ``module.name(argument)``."""
    words = [bytes([0x8C, len(word)]) + word.encode() for word in (module, name, argument)]
    return b"\x80\x04" + words[0] + words[1] + b"\x93" + words[2] + b"\x85R."


@pytest.mark.parametrize(("module", "name"), [
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("numpy", "load"),
    ("numpy", "f2py.os.system"),  # a way through an allowed package
    ("numpy", "ndarray.__class__"),
    ("collections", "namedtuple"),
    ("torch", "load"),
])  # fmt: skip
def test_functions_outside_the_list_are_named(module, name, tmp_path):
    (tmp_path / "x.pkl").write_bytes(program(module, name, "1"))
    with pytest.raises(SegkitError, match=f"wants to call {module}.{name}"):
        read_file(str(tmp_path / "x.pkl"))


def test_only_latin1_is_decoded(tmp_path):
    assert pickle.loads(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.") == "n"
    for codec in (b"rot13", b"bz2_c"):
        (tmp_path / "x.pkl").write_bytes(
            b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00" + codec + b"\x86R."
        )
        with pytest.raises(SegkitError, match="encodes text as"):
            read_file(str(tmp_path / "x.pkl"))


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_become_tensors(protocol, tmp_path):
    arrays = OrderedDict(
        a=np.arange(6, dtype=np.float32).reshape(2, 3),
        strided=np.arange(6, dtype=np.float64).reshape(2, 3).T,
        big_endian=np.arange(3, dtype=">i4"),
        empty=np.zeros((0, 4), dtype=np.float16),
    )
    by_pickle({"model": arrays, "n": 3, "scalar": np.float32(2.5), "name": "x"}, tmp_path / "x.pkl", protocol)
    content = read_file(str(tmp_path / "x.pkl"))
    assert content["n"] == 3 and content["scalar"] == 2.5 and content["name"] == "x"
    for name, array in arrays.items():
        tensor = content["model"][name]
        assert isinstance(tensor, torch.Tensor) and np.array_equal(tensor.numpy(), array)


def test_arrays_from_python_2(tmp_path):
    """Its texts are bytes, and its numpy has other names."""
    data = np.arange(200, 203, dtype=np.uint8)
    state = b"(I1\n(I3\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\xc8\\xc9\\xca'\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state
    (tmp_path / "x.pkl").write_bytes(b"(dS'conv1_w'\n" + array + b"s.")
    content = read_file(str(tmp_path / "x.pkl"))
    assert list(content) == ["conv1_w"] and np.array_equal(content["conv1_w"].numpy(), data)


def test_damaged_pickles(tmp_path):
    whole = pickle.dumps({"a": np.zeros(100)})
    for name, content in {"cut": whole[:60], "text": b"hello", "empty": b"", "list": pickle.dumps([1])}.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
        with pytest.raises(SegkitError, match=rf"{name}\.pkl'"):
            read_file(str(tmp_path / f"{name}.pkl"))
