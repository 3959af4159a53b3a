"""The arithmetic of a forward pass; :mod:`segkit.utils.device` checks device and precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from segkit.utils.device import AUTOCAST_DTYPES


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context for a forward pass: torch's autocast, or nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_DTYPES[precision])
