"""The device and the precision that a user asks for, checked against what torch has here."""

from __future__ import annotations

import logging
import re

import torch
from torch import nn

from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
GPU_NAMES = ("gpu", "nvidia", "rocm")  # what torch calls cuda


def choose_device(name: str | int | torch.device | None = "auto", *, key: str = "train.device") -> torch.device:
    """The torch device of a name.

    Where several processes run, each gets the GPU of its number on its machine, which becomes torch's current one.

    Args:
        name: ``auto`` (or None) is the GPU where there is one, else the CPU; otherwise a name (``cpu``, ``cuda``, ``cuda:1``),
            a torch device, or the number of a GPU.
        key: the configuration key, flag or argument that the name comes from, for the message.
    Raises:
        SegkitError: torch knows no such device, or cannot use it here; the message names the nearest one that it can use.
    """
    name = "auto" if name is None else name
    if distributed.launched() and (str(name) == "cuda" or (name == "auto" and torch.cuda.is_available())):
        device = choose_device(f"cuda:{distributed.local_rank()}", key=key)
        torch.cuda.set_device(device)
        return device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = _parse(name, key)
    if device.type == "cpu":
        return torch.device("cpu")  # torch ignores its number
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise _error(name, key, f"was asked for, but torch {torch.__version__} sees {_gpus(count)}")
        return device
    try:
        torch.zeros(1, device=device).item()  # also refuses ``meta``, which has no values
        torch.Generator(device)
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:  # which depends on the type
        raise _error(name, key, f"cannot be used by torch {torch.__version__} here") from error
    return device


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; the CPU for a model without parameters."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def check_precision(precision: str, device: torch.device, *, key: str = "train.precision") -> None:
    """SegkitError where ``precision`` cannot be had on ``device``.

    fp16 off the GPU is an error and not silently something else: its scaler and its range make another training.
    """
    if precision not in ("fp32", *AUTOCAST_DTYPES):
        raise SegkitError(f"{key} must be fp32, bf16 or fp16, got '{precision}'", key=key, value=precision)
    if precision == "fp16" and device.type != "cuda":
        setting = f"{key}=fp32" if "." in key else f"{key} fp32"
        raise SegkitError(
            f"{key}: fp16 needs a CUDA GPU, and this run is on the {device.type}; "
            f"set {setting} (or bf16 on processors that have it)",
            key=key,
            value=precision,
            choices=("fp32", "bf16"),
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        logger.warning("%s has no bf16 arithmetic and emulates it slowly: fp16 is faster", name)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the memory of the GPU or of the machine is not enough."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    told = ("can't allocate memory", "not enough memory", "out of memory", "size calculation overflowed")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in told)


def _parse(name: object, key: str) -> torch.device:
    """The device that a text, number or device means; whether it is there is not looked at."""
    if isinstance(name, torch.device):
        return name
    text = f"cuda:{name}" if isinstance(name, int) and not isinstance(name, bool) else name
    try:
        if isinstance(text, str):
            return torch.device(text)
    except RuntimeError:
        pass
    raise _error(name, key, "is no device")


def _error(name: object, key: str, problem: str) -> SegkitError:
    valid = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return SegkitError(
        f"{key}: '{name}' {problem}; expected {' or '.join(valid[:6])}{_nearest(str(name), valid)}",
        key=key,
        value=name,
        choices=valid,
    )


def _nearest(name: str, valid: list[str]) -> str:
    """The end of the message: the valid device that was probably meant; empty where none is like it."""
    word = name.strip().lower()
    number = re.sub(r"\D", "", word)
    kind = re.sub(r"[\d:\s-]", "", word)
    if kind in ("cuda", "", *GPU_NAMES) and word:
        gpus = [device for device in valid if device.startswith("cuda")]
        near = f"cuda:{number}" if f"cuda:{number}" in gpus else gpus[-1 if number else 0] if gpus else "cpu"
    else:
        near = next((device for device in valid if device == word), "")
    return f"; nearest: {near}" if near else ""


def _gpus(count: int) -> str:
    """How many GPUs torch sees, and why none where that is known."""
    if count == 0 and not torch.version.cuda and not torch.version.hip:
        return "0 GPUs (it is built without CUDA)"
    return f"{count} GPU" if count == 1 else f"{count} GPUs"
