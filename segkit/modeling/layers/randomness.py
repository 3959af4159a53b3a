"""Random layers under the rule of a generator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from segkit.utils.errors import SegkitError


def check_generator(generator: torch.Generator | None, device: torch.device) -> None:
    """SegkitError for a generator that cannot draw on ``device``."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise SegkitError(
            f"generator: expected a torch.Generator or None, got {type(generator).__name__}; for a seed give "
            f"torch.Generator('{device.type}').manual_seed(SEED)"
        )
    if generator.device.type != device.type:
        raise SegkitError(
            f"generator: is on {generator.device}, and the model is on {device}; make it with torch.Generator('{device}')"
        )


@contextmanager
def randomness_of(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Let dropout and stochastic depth depend on ``generator`` alone, and leave the global random state as it was.

    Such layers know torch's global generators only. For the block these (the CPU's, and that of a CUDA ``device``) start
    from a seed that is a function of the generator's state; afterwards they have their own state back.

    Args:
        generator: on any device; it is read and not moved. None: the block draws from the global state as it is.
        device: where the layers are.
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
