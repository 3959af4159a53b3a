"""What a run depends on outside the configuration: versions, device, seeds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from tabulate import tabulate

import segkit
from segkit.utils.errors import SegkitError


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
        deterministic: torch uses deterministic kernels only; :func:`nondeterminism_told` for what has none.
    """
    if deterministic:  # first: cuBLAS reads it once
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False  # image sizes vary from batch to batch: each would be tried anew


@contextmanager
def nondeterminism_told() -> Iterator[None]:
    """Makes torch's error for an operation without a deterministic kernel one for the user."""
    try:
        yield
    except RuntimeError as error:
        if "use_deterministic_algorithms" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(", but you set")[0]
        raise SegkitError(
            f"train.deterministic: {reason}; set train.deterministic=false", key="train.deterministic", value=True
        ) from error


def check_single_process() -> None:
    """SegkitError under torchrun and the like, where each process would write over the others' files."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size not in ("", "1"):
        raise SegkitError(
            f"WORLD_SIZE is {size}: training in several processes is not supported yet; start a single one"
        )
