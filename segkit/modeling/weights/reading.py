"""Reads checkpoint files of any framework without running code in them."""

from __future__ import annotations

import contextlib
import contextvars
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.modeling.weights.pickles import read_pickle
from segkit.utils.archives import damage
from segkit.utils.errors import SegkitError

# First bytes of files of torch.save: of a zip archive, or (before torch 1.6) of a pickled magic number.
TORCH_BEGINNINGS = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")

_skip: contextvars.ContextVar[bool] = contextvars.ContextVar("skip_pretrained", default=False)


@contextlib.contextmanager
def skip_pretrained() -> Iterator[None]:
    """Context in which backbones are built without pretrained weights, to load a checkpoint."""
    token = _skip.set(True)
    try:
        yield
    finally:
        _skip.reset(token)


def skipping_pretrained() -> bool:
    """Whether :func:`skip_pretrained` is active."""
    return _skip.get()


def read_file(path: str, what: str = "weights") -> dict[str, Any]:
    """The content of a checkpoint file: tensors and plain values, on the CPU.

    Reads files of ``torch.save`` and pickles of numpy arrays (Detectron2's ``.pkl``), recognised by their first bytes.

    Args:
        path: local path, URL or ``segkit://`` path.
        what: what the file is called in messages.
    Raises:
        SegkitError: there is no such file, it is no checkpoint, or it contains more than tensors and plain values.
    """
    from segkit.utils.paths import local_path

    file = local_path(path, what, kind="file")
    if problem := _other_kind(file):
        raise SegkitError(f"the {what} '{path}' {problem}; expected a file of tensors (.pth, .pkl)", value=path)
    try:
        content = _load(file)
    except pickle.UnpicklingError as error:
        raise SegkitError(
            f"{what} '{path}': the file contains more than tensors and plain values, or is damaged; it is not read, "
            f"because that could run code: {_first_line(error)}", value=path,
        ) from error  # fmt: skip
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SegkitError(f"{what} '{path}' cannot be read: {_first_line(error)}", value=path) from error
    if (
        isinstance(content, Mapping)
        and {"model", "iteration"} <= content.keys()
        and (problem := damage(file)) is not None
    ):
        raise SegkitError(f"{what} '{path}' is damaged: {problem}", value=path)  # other files may have no checksums
    if not isinstance(content, Mapping):
        raise SegkitError(f"{what} '{path}' contains a {type(content).__name__}, not named tensors", value=path)
    return dict(content)


def _other_kind(file: Path) -> str | None:
    """Describes a file that is evidently no checkpoint; None for other files."""
    with file.open("rb") as stream:
        head = stream.read(16)
    if not head:
        return "is empty (0 bytes)"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF8")):
        return "is an image, not a checkpoint"
    if file.suffix.lower() in (".yaml", ".yml"):
        return "is a configuration, not a checkpoint"
    if file.suffix.lower() in (".json", ".txt", ".csv"):
        return f"is a {file.suffix} file, not a checkpoint"
    return None


def checkpoint_content(path: str) -> dict[str, Any]:
    """A checkpoint's content, read once and passed on, since a large file takes seconds.

    Empty for torchvision's names of weights, which contain nothing but tensors.
    """
    return {} if names_torchvision_weights(path) else read_file(path, "checkpoint")


def names_torchvision_weights(path: str) -> bool:
    """Whether ``path`` is torchvision's name of weights: ``ResNet50_Weights.IMAGENET1K_V1``."""
    return re.fullmatch(r"\w+_Weights\.\w+", path) is not None


def _load(file: Path) -> Any:
    with file.open("rb") as stream:
        beginning = stream.read(max(map(len, TORCH_BEGINNINGS)))
    if beginning.startswith(TORCH_BEGINNINGS):
        return torch.load(file, map_location="cpu", weights_only=True)
    return _as_tensors(read_pickle(file))


def _as_tensors(content: Any) -> Any:
    """Converts numeric arrays, in nested mappings too, to tensors."""
    if isinstance(content, Mapping):
        return {key: _as_tensors(value) for key, value in content.items()}
    if isinstance(content, np.ndarray) and content.dtype.kind in "fiub":
        return torch.from_numpy(np.array(content, dtype=content.dtype.newbyteorder("=")))  # a writable copy
    return content


def named_tensors(content: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """A model's named tensors in a checkpoint's content, without DDP's prefix ``module.``."""
    for key in ("model", "state_dict", "model_state_dict", "model_state", "blobs"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise SegkitError(
            f"weights '{path}' contains no named tensors; its keys: {', '.join(map(str, content))[:200]}", value=path
        )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
