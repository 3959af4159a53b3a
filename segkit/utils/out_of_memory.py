"""Recognises errors that mean "out of memory", of Python, NumPy and torch.

Does not import torch.
"""

from __future__ import annotations

MESSAGES = ("allocate memory", "not enough memory", "out of memory", "size calculation overflowed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the memory of the GPU or of the machine is not enough.

    torch raises ``torch.OutOfMemoryError`` for GPUs, and for the machine's memory a RuntimeError that only its message
    tells from others.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in MESSAGES)
