"""Running statistics as they were before a step."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, nn


class BufferCopies:
    """The model's buffers, each with a copy: batch norms learn in the forward pass, also of a step not taken.

    A model has hundreds. So their modules are looked up once, all are copied together, and the memory is used again.
    """

    def __init__(self, model: nn.Module) -> None:
        self._owners = [module._buffers for module in model.modules() if module._buffers]
        self._buffers: list[Tensor] = []
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []  # buffers of a kind, and their copies

    @torch.no_grad()
    def keep(self) -> None:
        """Copies the buffers as they are now."""
        buffers = [buffer for owner in self._owners for buffer in owner.values() if buffer is not None]
        if len(buffers) != len(self._buffers) or not all(map(operator.is_, buffers, self._buffers)):
            self._buffers = buffers
            self._make_room()
        for same, copies in self._pairs:
            torch._foreach_copy_(copies, same)

    @torch.no_grad()
    def put_back(self) -> None:
        """Gives each buffer the value that it had at the last :meth:`keep`."""
        for same, copies in self._pairs:
            torch._foreach_copy_(same, copies)

    def _make_room(self) -> None:
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for buffer in self._buffers:
            kinds.setdefault((buffer.device, buffer.dtype), []).append(buffer)
        self._pairs = [(same, [torch.empty_like(buffer) for buffer in same]) for same in kinds.values()]
