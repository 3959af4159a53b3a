"""Reading a file of tensors, whoever wrote it, without running any code in it."""

from __future__ import annotations

import contextlib
import contextvars
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from segkit.utils.errors import SegkitError

_skip: contextvars.ContextVar[bool] = contextvars.ContextVar("skip_pretrained", default=False)


@contextlib.contextmanager
def skip_pretrained() -> Iterator[None]:
    """Backbones built inside leave out their pretrained weights: a checkpoint is about to replace them."""
    token = _skip.set(True)
    try:
        yield
    finally:
        _skip.reset(token)


def skipping_pretrained() -> bool:
    """Whether we are inside :func:`skip_pretrained`."""
    return _skip.get()


def read_file(path: str, what: str = "weights") -> dict[str, Any]:
    """What is in a checkpoint file: tensors and plain values, on the CPU.

    Args:
        path: local path, URL or ``segkit://`` path.
        what: for messages.
    Raises:
        SegkitError: there is no such file, it is not a checkpoint, or it holds more than tensors and plain values.
    """
    from segkit.utils.paths import local_path

    file = local_path(path, what)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SegkitError(
            f"{what} '{path}': the file holds more than tensors and plain values, or is damaged; it is not read, for "
            f"that could run code: {_first_line(error)}", value=path,
        ) from error  # fmt: skip
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SegkitError(f"{what} '{path}' cannot be read: {_first_line(error)}", value=path) from error
    if not isinstance(content, Mapping):
        raise SegkitError(f"{what} '{path}' holds a {type(content).__name__}, not named tensors", value=path)
    return dict(content)


def read_state(path: str) -> dict[str, Tensor]:
    """The named tensors in a file: the file itself, or what it has under ``model`` or ``state_dict``."""
    return named_tensors(read_file(path), path)


def named_tensors(content: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """The model's named tensors in a checkpoint's content, without the ``module.`` of DistributedDataParallel."""
    for key in ("model", "state_dict", "model_state_dict", "model_state"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise SegkitError(
            f"weights '{path}' holds no named tensors; its keys: {', '.join(map(str, content))[:200]}", value=path
        )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
