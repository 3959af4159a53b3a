"""What a run depends on besides its configuration: versions, hardware, global seeds."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from segkit.utils.errors import SegkitError
from segkit.utils.requirements import package_rows
from segkit.utils.seeding import seeds

MIN_SHARED_MEMORY = 2**30  # bytes of /dev/shm, below which loader processes may fail


def environment_table(device: torch.device) -> str:
    """Formats versions and hardware for the log, as ``python -m segkit.doctor`` prints them."""
    table = tabulate(environment_rows(device), tablefmt="plain", disable_numparse=True)
    return "\n".join([table, *machine_notes()])


def environment_rows(device: torch.device) -> list[tuple[str, str]]:
    """Returns the rows of a table: versions of packages, the machine, and the device in use."""
    return [*package_rows(), *machine_rows(), ("runs on", device_name(device))]


def machine_rows(*, free_memory: bool = False) -> list[tuple[str, str]]:
    """Returns rows of a table: processors, memory, GPUs.

    Args:
        free_memory: add the free memory of each GPU; the query itself takes some memory on each.
    """
    rows = [("processors", f"{os.cpu_count()}, torch uses {torch.get_num_threads()} threads")]
    if memory := memory_gib():
        rows.append(("memory", f"{memory:.0f} GiB"))
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        free = f", {torch.cuda.mem_get_info(i)[0] / 2**30:.0f} GiB free" if free_memory else ""
        rows.append((f"cuda:{i}", f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB){free}"))
    cuda = f"for {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if torch.version.cuda else "without it"
    rows.append(("cuda", f"torch was built {cuda}"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "available"))
    return rows


def device_problems() -> list[str]:
    """Returns a message for each GPU that torch sees and that does not compute."""
    found = []
    for i in range(torch.cuda.device_count()):
        try:
            torch.ones(2, 2, device=f"cuda:{i}").matmul(torch.ones(2, 2, device=f"cuda:{i}")).sum().item()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            found.append(f"cuda:{i} does not compute ({reason}): update its driver, or set train.device=cpu")
    return found


def machine_notes() -> list[str]:
    """Returns advice on what works and could work better."""
    notes = []
    if not torch.cuda.is_available() and shutil.which("nvidia-smi"):
        cuda = torch.version.cuda
        reason = f"it is built for CUDA {cuda}: the driver may be older" if cuda else "it is built without CUDA"
        notes.append(f"there is an NVIDIA driver, but torch {torch.__version__} sees no GPU: {reason}; see pytorch.org")
    shared = Path("/dev/shm")
    if shared.is_dir() and (size := shutil.disk_usage(shared).total) < MIN_SHARED_MEMORY:
        notes.append(
            f"/dev/shm has {size / 2**20:.0f} MiB, through which loader processes hand over batches: if they die, set "
            "data.num_workers=0 or make it larger (docker run --shm-size=8g)"
        )
    return notes


def memory_gib() -> float | None:
    """Returns the machine's memory in GiB; None if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return None


def device_name(device: torch.device) -> str:
    """Returns a description as ``cuda:0: NVIDIA A100 (79 GiB)`` or ``cpu: 8 threads, ...``."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device}: {properties.name} ({properties.total_memory / 2**30:.0f} GiB)"
    if device.type == "cpu":
        return f"cpu: {torch.get_num_threads()} threads, {os.cpu_count()} processors"
    return str(device)


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seeds the global generators of python, numpy and torch; torch's draws the initial weights.

    Args:
        seed: any integer from 0 on.
        deterministic: let torch use deterministic kernels only; see :func:`nondeterminism_errors` for operations without.
    """
    if deterministic:  # before any CUDA call, because cuBLAS reads it only once
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seeds("python", seed)[0])
    np.random.seed(seeds("numpy", seed)[0] % 2**32)
    torch.manual_seed(seed if seed < 2**32 else seeds("weights", seed)[0])  # torch's CPU generator uses 32 bits of it
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False  # it would time kernels for each new image size, and sizes vary


@contextmanager
def nondeterminism_errors() -> Iterator[None]:
    """Turns torch's error for an operation without a deterministic kernel into a SegkitError."""
    try:
        yield
    except RuntimeError as error:
        if "use_deterministic_algorithms" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(", but you set")[0]
        raise SegkitError(
            f"train.deterministic: {reason}; set train.deterministic=false", key="train.deterministic", value=True
        ) from error
