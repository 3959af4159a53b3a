"""Devices and the arithmetic on them."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: the GPU where there is one, else the CPU; otherwise a torch device, which has to be there.

    Where several processes run, each has the GPU of its number on its machine, which becomes torch's current one.
    """
    if distributed.launched() and (name == "cuda" or (name == "auto" and torch.cuda.is_available())):
        device = choose_device(f"cuda:{distributed.local_rank()}")
        torch.cuda.set_device(device)
        return device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SegkitError(
            f"train.device: '{name}' is no device; expected auto, cpu, cuda or cuda:1", key="train.device", value=name
        ) from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise SegkitError(
            f"train.device: '{name}' was asked for; torch {torch.__version__} sees {torch.cuda.device_count()} GPUs",
            key="train.device",
            value=name,
        )
    if device.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=device).item()  # also refuses ``meta``, which has no values
            torch.Generator(device)
        except (RuntimeError, AssertionError, ImportError, AttributeError) as error:  # which depends on the type
            raise SegkitError(
                f"train.device: '{name}' cannot be used by torch {torch.__version__} here; expected auto, cpu or cuda",
                key="train.device",
                value=name,
            ) from error
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """SegkitError where ``precision`` cannot be had on ``device``.

    fp16 off the GPU is an error and not silently something else: its scaler and its range make another training.
    """
    if precision not in ("fp32", *AUTOCAST_DTYPES):
        raise SegkitError(f"train.precision must be fp32, bf16 or fp16, got '{precision}'", key="train.precision")
    if precision == "fp16" and device.type != "cuda":
        raise SegkitError(
            f"train.precision: fp16 needs a CUDA GPU, and this run is on the {device.type}; "
            "set train.precision=fp32 (or bf16 on processors that have it)",
            key="train.precision",
            value=precision,
            choices=("fp32", "bf16"),
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        logger.warning("%s has no bf16 arithmetic and emulates it slowly: fp16 is faster", name)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context for a forward pass: torch's autocast, or nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_DTYPES[precision])
