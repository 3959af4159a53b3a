"""Makes dropout and stochastic depth depend on a given generator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from segkit.utils.errors import SegkitError


def check_generator(generator: torch.Generator | None, device: torch.device) -> None:
    """Raises a SegkitError if ``generator`` is no generator for ``device``."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise SegkitError(
            f"generator: expected a torch.Generator or None, got {type(generator).__name__}; for a seed pass "
            f"torch.Generator('{device.type}').manual_seed(SEED)"
        )
    if generator.device.type != device.type:
        raise SegkitError(
            f"generator: is on {generator.device}, but the model is on {device}; make it with torch.Generator('{device}')"
        )


@contextmanager
def randomness_of(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Context in which dropout and stochastic depth depend on ``generator`` alone.

    Such layers draw from torch's global generators. Within the context these (the CPU's, and that of a CUDA ``device``)
    are seeded with a hash of the generator's state; afterwards their own state is restored.

    Args:
        generator: on any device; its state is read and not advanced. None: layers draw from the global state.
        device: of the layers.
    """
    if generator is None:
        yield
        return
    digest = hashlib.blake2b(generator.get_state().numpy().tobytes(), digest_size=8).digest()
    seed = int.from_bytes(digest, "little") >> 1
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    states = [each.get_state() for each in generators]
    for each in generators:
        each.manual_seed(seed)
    try:
        yield
    finally:
        for each, state in zip(generators, states, strict=True):
            each.set_state(state)
