"""Running statistics as they were before a step."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segkit.modeling.nonfinite import finite_values, is_writable


class BufferCopies:
    """The model's buffers, each with a copy: batch norms learn in the forward pass, also of a step not taken.

    A model has hundreds. So their modules are looked up once, and those of a device and dtype are copied together, to one
    flat tensor that is used again. Sparse, quantized and expanded buffers have no copy, for they can only be replaced.
    """

    def __init__(self, model: nn.Module) -> None:
        self._owners = [module._buffers for module in model.modules()]
        self._places: list[tuple[dict[str, Tensor | None], str, Tensor | None]] = []
        self._buffers: list[Tensor] = []
        self._kinds: list[_Kind] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copies the buffers as they are now."""
        self._places = [(owner, key, buffer) for owner in self._owners for key, buffer in owner.items()]
        buffers = [buffer for _, _, buffer in self._places if buffer is not None]
        if len(buffers) != len(self._buffers) or not all(map(operator.is_, buffers, self._buffers)):
            self._buffers = buffers
            kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
            for buffer in filter(is_writable, buffers):
                kinds.setdefault((buffer.device, buffer.dtype), []).append(buffer)
            self._kinds = [_Kind(alike) for alike in kinds.values()]
        for kind in self._kinds:
            torch._foreach_copy_(kind.copies, kind.buffers)

    @torch.no_grad()
    def put_back(self, where: Tensor | None = None) -> None:
        """Gives each buffer the value that it had at the last :meth:`keep`; one that is new since is removed.

        Args:
            where: bool scalar on the device, which says whether that is to happen; the host does not wait for it. None:
                it happens.
        """
        for owner, key, buffer in self._places:
            now = owner.get(key)
            if now is buffer:
                continue
            if where is None or now is None or buffer is None or not _alike(now, buffer):
                if where is None or bool(where):  # another shape cannot wait for the device
                    owner[key] = buffer
            else:  # a module that has put a new tensor in its place: the value is taken, the tensor stays the old one
                owner[key] = buffer.copy_(now)
        if sum(map(len, self._owners)) > len(self._places) and (where is None or bool(where)):
            before = {(id(owner), key) for owner, key, _ in self._places}
            for owner in self._owners:
                for key in [key for key in owner if (id(owner), key) not in before]:
                    del owner[key]
        for kind in self._kinds:
            if where is None:
                torch._foreach_copy_(kind.buffers, kind.copies)
            else:
                kind.put_back_where(where)

    @torch.no_grad()
    def spoilt(self) -> Tensor | None:
        """Whether a value is NaN or infinite now that was finite at :meth:`keep`: bool scalar on the device.

        None: there are no floating-point buffers.
        """
        found = [kind.spoilt() for kind in self._kinds if kind.flat.is_floating_point() or kind.flat.is_complex()]
        return any_of(found) if found else None


class _Kind:
    """Buffers of one device and dtype, with views of a flat tensor to copy them to."""

    def __init__(self, buffers: list[Tensor]) -> None:
        self.buffers = buffers
        first, sizes = buffers[0], [buffer.numel() for buffer in buffers]
        self.flat = torch.empty(sum(sizes), dtype=first.dtype, device=first.device)
        self._sizes = sizes
        self.copies = self._views(self.flat)

    def put_back_where(self, where: Tensor) -> None:
        values = torch.where(where.to(self.flat.device), self.flat, self._now())
        torch._foreach_copy_(self.buffers, self._views(values))

    def spoilt(self) -> Tensor:
        return (finite_values(self.flat) & ~finite_values(self._now())).any()

    def _now(self) -> Tensor:
        return torch.cat([buffer.reshape(-1) for buffer in self.buffers])

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split(self._sizes)
        return [part.view(buffer.shape) for part, buffer in zip(parts, self.buffers, strict=True)]


def _alike(first: Tensor, second: Tensor) -> bool:
    """Whether the second can take the first's values."""
    same = (first.shape, first.dtype, first.device) == (second.shape, second.dtype, second.device)
    return same and first.layout == torch.strided and is_writable(second)


def any_of(flags: Iterable[Tensor]) -> Tensor:
    """Whether any of some bool scalars is true: one on the device of the first."""
    flags = list(flags)
    return torch.stack([flag.to(flags[0].device) for flag in flags]).any()
