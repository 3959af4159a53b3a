"""Chooses the device, and checks device and precision against this installation of torch."""

from __future__ import annotations

import logging
import re

import torch
from torch import nn

from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
GPU_NAMES = ("gpu", "nvidia", "rocm")  # names that users give to torch's "cuda"


def choose_device(name: str | int | torch.device | None = "auto", *, key: str = "train.device") -> torch.device:
    """The torch device of a name, checked for use.

    In a distributed run each process gets the GPU of its local rank, which becomes torch's current device.

    Args:
        name: ``auto`` or None (a GPU if there is one, else the CPU), a name (``cpu``, ``cuda``, ``cuda:1``), a torch
            device, or the index of a GPU.
        key: the configuration key, flag or argument that holds the name, for the message.
    Raises:
        SegkitError: the device does not exist or cannot be used; the message names the nearest usable one.
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
        return torch.device("cpu")  # torch ignores the index of a CPU
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise _error(name, key, f"was asked for, but torch {torch.__version__} sees {_gpus(count)}")
        return device
    try:
        torch.zeros(1, device=device).item()  # fails for ``meta`` too, whose tensors hold no data
        torch.Generator(device)
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:  # the type depends on the device
        raise _error(name, key, f"cannot be used by torch {torch.__version__} here") from error
    return device


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; the CPU for a model without parameters."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def check_precision(precision: str, device: torch.device, *, key: str = "train.precision") -> None:
    """Raises a SegkitError if ``precision`` does not exist on ``device``.

    It logs a warning if the precision is slow there.

    fp16 on a CPU is an error, not a silent change to another precision: with the loss scaler and the range of fp16 the
    training would differ.
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


def _parse(name: object, key: str) -> torch.device:
    """Converts a name, an index or a device to a device; does not check whether it exists."""
    if isinstance(name, torch.device):
        return name
    text = f"cuda:{name}" if isinstance(name, int) and not isinstance(name, bool) else name
    try:
        if isinstance(text, str):
            return torch.device(text)
    except RuntimeError:
        pass
    raise _error(name, key, "is not a device")


def _error(name: object, key: str, problem: str) -> SegkitError:
    valid = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return SegkitError(
        f"{key}: '{name}' {problem}; expected {' or '.join(valid[:6])}{_nearest(str(name), valid)}",
        key=key,
        value=name,
        choices=valid,
    )


def _nearest(name: str, valid: list[str]) -> str:
    """The valid device that was probably meant, as the end of the message.

    It is empty if none is similar.
    """
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
    """The number of GPUs that torch sees, with the reason for 0 if it is known."""
    if count == 0 and not torch.version.cuda and not torch.version.hip:
        return "0 GPUs (it is built without CUDA)"
    return f"{count} GPU" if count == 1 else f"{count} GPUs"
