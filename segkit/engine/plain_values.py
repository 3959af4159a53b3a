"""What a checkpoint may hold: tensors and plain values, which torch loads without running anything."""

from __future__ import annotations

import numpy as np
import torch

_PLAIN = (torch.Tensor, str, bytes, int, float, bool, type(None))


def check_plain(value: object, path: str) -> None:
    """TypeError where torch's ``weights_only`` loading would refuse the file."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, f"{path} key")
            check_plain(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{path}[{index}]")
    elif isinstance(value, np.generic) or not isinstance(value, _PLAIN):
        raise TypeError(f"{path} is a {type(value).__name__}; checkpoints hold tensors and plain values only")
