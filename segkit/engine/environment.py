"""What a run depends on outside the configuration: versions, device, seeds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import random

import numpy as np
import torch
from tabulate import tabulate

import segkit


def environment_table(device: torch.device) -> str:
    """Versions and hardware, for the log."""
    rows = [
        ("segkit", segkit.__version__),
        ("python", platform.python_version()),
        ("torch", torch.__version__),
        ("torchvision", importlib.metadata.version("torchvision")),
        ("system", platform.platform()),
        ("device", device_name(device)),
    ]
    return tabulate(rows, tablefmt="plain", disable_numparse=True)


def device_name(device: torch.device) -> str:
    """``cuda: NVIDIA A100 (79 GiB)`` or ``cpu: 8 threads of 16 processors``."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device}: {properties.name} ({properties.total_memory / 2**30:.0f} GiB)"
    if device.type == "cpu":
        return f"cpu: {torch.get_num_threads()} threads, {os.cpu_count()} processors"
    return str(device)


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seeds python's, numpy's and torch's global generators, which weights are drawn from.

    Args:
        deterministic: torch uses deterministic kernels, and warns by name of those it has no such kernel for.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False  # image sizes vary from batch to batch: each would be tried anew
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
