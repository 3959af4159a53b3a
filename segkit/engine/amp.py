"""Mixed precision: the context of a forward pass, and the overflow flag of fp16's scaler.

:mod:`segkit.utils.device` checks that a device supports a precision.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from segkit.engine.buffer_backup import any_of
from segkit.utils.device import AUTOCAST_DTYPES


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Returns the context for a forward pass: torch's autocast, or an empty context for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=AUTOCAST_DTYPES[precision])


def gradients_overflowed(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> Tensor | None:
    """Whether ``scaler.step(optimizer)`` will skip the step; None without a scaler.

    A bool scalar on the device: the scaler's own flag, set by ``scaler.unscale_``. The host does not wait for it.
    """
    if not scaler.is_enabled():
        return None
    found = scaler._found_inf_per_device(optimizer).values()
    return any_of(flag.reshape(()) > 0 for flag in found)
