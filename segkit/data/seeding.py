"""Seeds as pure functions of what they are for: nothing random depends on what ran before."""

from __future__ import annotations

import numpy as np
import torch


def generator_for(*numbers: int) -> torch.Generator:
    """A generator that depends on the given non-negative numbers alone, as (seed, epoch, index).

    The numbers are hashed together: sums or neighbouring seeds would give related streams.
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)
