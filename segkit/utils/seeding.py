"""Seeds of all random streams, as pure functions of a tag and integers.

They do not depend on what was drawn before.

The tag names the purpose of a stream. Streams are unrelated if their tags or their integers differ; tuples of different
lengths, as (1,) and (1, 0), differ too.

===============  =================================  ==================================================================
tag              integers                           what the stream draws
===============  =================================  ==================================================================
sampler          seed, epoch                        the order of an epoch's images
augmentation     seed, epoch, index, repeat         the training transforms of an image
test transforms  index                              the test transforms of an image, where they are random
step             seed, iteration, part, rank        anchors, proposals, dropout and stochastic depth of a training step
evaluation       none                               anchors and proposals of the validation losses
weights          seed                               the initial weights; below 2**32 they are ``torch.manual_seed(seed)``'s
numpy, python    seed                               the global generators of NumPy and Python, for extensions
===============  =================================  ==================================================================

Two streams have no tag, so that splits and images of earlier versions stay the same: those of :func:`split_generator`
and of :class:`segkit.data.formats.Synthetic`. They use NumPy's seeding and are unrelated to the streams above.
"""

from __future__ import annotations

import hashlib
import operator

import numpy as np
import torch

# Incremented whenever one of the streams above changes; a checkpoint stores the version it was trained with.
STREAMS_VERSION = 2


def seeds(tag: str, *integers: int, count: int = 1) -> list[int]:
    """``count`` seeds of 63 bits that depend only on the tag and the integers.

    Tag and integers are hashed together, each at its full length: equal sums, neighbouring integers, and leading or
    trailing zeros all result in unrelated seeds.
    """
    assert isinstance(tag, str) and tag, tag
    text = repr((tag, *map(operator.index, integers)))
    digest = hashlib.blake2b(text.encode(), digest_size=8 * count).digest()
    return [int.from_bytes(digest[8 * i : 8 * i + 8], "little") >> 1 for i in range(count)]


def generator_for(tag: str, *integers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator at the start of the stream of a tag and integers."""
    return torch.Generator(device).manual_seed(seeds(tag, *integers)[0])


def evaluation_generator(device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator with a fixed seed, so that validation losses can be compared."""
    return generator_for("evaluation", device=device)


def split_generator(seed: int) -> torch.Generator:
    """The generator that shuffles a data set before it is split (a stream without a tag)."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1)
