"""The number of images that go through the network together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from segkit.utils.errors import SegkitError
from segkit.utils.out_of_memory import is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")
SHARE = 0.7  # of the free memory of a GPU
LARGEST = 64
BatchSize = int | Literal["auto"]


def checked_batch_size(batch_size: Any) -> BatchSize:
    """The batch size, a whole number from 1 on or ``auto``.

    Raises:
        SegkitError: it is neither.
    """
    if batch_size == "auto":
        return "auto"
    if not _is_number(batch_size) or batch_size != int(batch_size) or batch_size < 1:
        raise SegkitError(
            f"batch_size must be at least 1 and whole, or auto, not {batch_size!r}", key="batch_size", value=batch_size
        )
    return int(batch_size)


def in_parts(predict: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """Predicts items at once, or in halves of them as often as the memory is too small.

    Raises:
        RuntimeError, MemoryError: the memory is too small for one item.
    """
    try:
        return predict(items)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or len(items) == 1:
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(items) // 2
    return in_parts(predict, items[:half]) + in_parts(predict, items[half:])


class FittingBatchSize:
    """A batch size that the memory of a GPU allows, by what the first image takes.

    It is 1 on a CPU, which gains nothing from batches.

    Args:
        device: of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.size = device, 1
        self._is_measured = device.type != "cuda"

    def measured(self, predict: Callable[[], Result]) -> Result:
        """Predicts the first batch, one image, and measures its memory."""
        if self._is_measured:
            return predict()
        self._is_measured = True
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        result = predict()
        taken = max(1, torch.cuda.max_memory_allocated(self.device) - before)
        free = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device) - before
        self.size = int(min(LARGEST, max(1, SHARE * free // taken)))
        return result


def _is_number(value: Any) -> bool:
    """Whether it is a finite number of Python's or numpy's, and no boolean."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))
