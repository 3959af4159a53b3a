"""The batch size for the memory at hand."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

USED_SHARE = 0.7  # of the free memory
BYTES_PER_PIXEL = {"cpu": 4000.0, "cuda": 3000.0}  # of a training step of a small model, until it is measured
INFERENCE_BYTES_PER_PIXEL = 400.0
USUAL_BATCH = {"cpu": 4, "cuda": 16}


def free_memory(device: torch.device) -> float:
    """Free bytes of a GPU, or of the machine within the limit of its container."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    available = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if hasattr(os, "sysconf") else 8e9
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit, used = float(Path(limit_file).read_text()), float(Path(used_file).read_text())
            available = min(available, limit - used)
        except (OSError, ValueError):  # not there, or "max"
            continue
    return available


def most_evaluated_pixels(memory: float) -> float:
    """Pixels of an image at the model's scale whose evaluation fits into ``memory`` bytes."""
    return USED_SHARE * memory / INFERENCE_BYTES_PER_PIXEL


def choose_batch(
    crop: int, memory: float, kind: str, measured: tuple[int, float] | None = None, most: int | None = None
) -> tuple[int, int, str]:
    """``data.batch_size``, ``train.accumulate`` and the reason.

    Args:
        crop: side of the training images.
        memory: free bytes.
        kind: of the device, ``cpu`` or ``cuda``.
        measured: a batch and the bytes that training with it took.
        most: the largest batch that did not run out of memory; None: no batch did.
    """
    usual = USUAL_BATCH.get(kind, USUAL_BATCH["cpu"])
    each = BYTES_PER_PIXEL.get(kind, BYTES_PER_PIXEL["cpu"]) * crop * crop
    if measured is not None:
        each = measured[1] / measured[0]
    fitting = max(1, math.floor(USED_SHARE * memory / each))
    batch = min(usual, fitting, most or usual)
    about = "measured" if measured is not None else "estimated"
    text = f"An image takes about {each / 1e9:.2g} GB of the {memory / 1e9:.3g} GB at hand ({about})"
    if batch == usual:
        more = "more steps in the same time help more than larger batches" if kind == "cpu" else "fits well"
        return batch, 1, f"{text}; {more}."
    accumulate = math.ceil(min(usual, 4) / batch)
    return batch, accumulate, f"{text}, so that {batch} fit."
