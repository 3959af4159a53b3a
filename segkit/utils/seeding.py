"""The seeds of all random streams: pure functions of a tag and of numbers, so that nothing depends on what ran before.

The tag says what a stream is for. Streams of different tags are unrelated, also for equal numbers; so are those of
different numbers, and of tuples of different lengths, as (1,) and (1, 0).

===============  =================================  ==================================================================
tag              numbers                            what it draws
===============  =================================  ==================================================================
sampler          seed, epoch                        the order of an epoch's images
augmentation     seed, epoch, index, repeat         the training transforms of an image
test transforms  index                              the test transforms of an image, where they are random
step             seed, iteration, part, rank        anchors, proposals, dropout and stochastic depth of a training step
evaluation       none                               anchors and proposals of the validation losses
weights          seed                               the initial weights; below 2**32 they are ``torch.manual_seed(seed)``'s
numpy, python    seed                               the global generators of NumPy and Python, for extensions
===============  =================================  ==================================================================

Two streams have no tag, so that published splits and images stay what they are: those of :func:`split_generator` and of
:class:`segkit.data.formats.Synthetic`. They are of another construction and so unrelated to all of the above.
"""

from __future__ import annotations

import hashlib
import operator

import numpy as np
import torch

# Counted up whenever one of the streams above changes; a checkpoint says which it was trained with.
STREAMS_VERSION = 2


def seeds(tag: str, *numbers: int, count: int = 1) -> list[int]:
    """``count`` seeds of 63 bits that depend on the tag and the integers alone.

    They are hashed together, each at its full length: sums, neighbouring seeds and leading or trailing zeros all give
    unrelated seeds.
    """
    assert isinstance(tag, str) and tag, tag
    text = repr((tag, *map(operator.index, numbers)))
    digest = hashlib.blake2b(text.encode(), digest_size=8 * count).digest()
    return [int.from_bytes(digest[8 * i : 8 * i + 8], "little") >> 1 for i in range(count)]


def generator_for(tag: str, *numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator at the start of the stream of the tag and the numbers."""
    return torch.Generator(device).manual_seed(seeds(tag, *numbers)[0])


def evaluation_generator(device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that draws the same at each call, for losses that are to be compared with each other."""
    return generator_for("evaluation", device=device)


def split_generator(seed: int) -> torch.Generator:
    """The generator that shuffles a data set before it is split; without a tag, see the module."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1)
