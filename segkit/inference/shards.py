"""Shards: which inputs of a prediction each of several processes predicts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from segkit.inference.frame import Frame
from segkit.utils.errors import SegkitError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Shard:
    """One of several parts of the inputs, neighbours in their order.

    Attributes:
        index: from 1 on.
        count: number of shards.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads ``I/N``, as ``2/8``.

        Raises:
            SegkitError: the text is no such pair, or I is not 1 to N.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            hint = " (shards count from 1)" if found is not None and found[1] == "0" else ""
            raise SegkitError(f"--shard: expected I/N with I from 1 to N, as 2/8, not '{text}'{hint}", key="--shard")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of_launcher(cls) -> Shard | None:
        """The shard of a process that torchrun started.

        None: torchrun did not start it, or it is the only one.
        """
        rank, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
        if not (rank.isdecimal() and size.isdecimal()) or int(size) < 2:
            return None
        return cls(int(rank) + 1, int(size))

    def part_of(self, inputs: Mapping[str, Value], batch_size: int = 1) -> dict[str, Value]:
        """This shard's inputs; those of all shards together are the inputs, in order, each once.

        Shards begin at multiples of the batch size, so that batches hold the same images as without shards. All frames of
        a series are in one shard.
        """
        series = list(dict.fromkeys(source.series for source in inputs.values() if isinstance(source, Frame)))
        if series:
            first, last = (len(series) * i // self.count for i in (self.index - 1, self.index))
            own = set(series[first:last])
            return {
                name: source for name, source in inputs.items() if isinstance(source, Frame) and source.series in own
            }
        batches = -(-len(inputs) // batch_size)
        first, last = (batches * i // self.count * batch_size for i in (self.index - 1, self.index))
        return dict(islice(inputs.items(), first, last))
