"""Backup of a model's buffers before a step: batch norms update them in the forward pass."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segkit.modeling.nonfinite import finite_values, is_writable


class BufferBackup:
    """Copies of a model's buffers, to undo the forward passes of a failed or skipped step.

    A model has hundreds of buffers. So their modules are listed once, and all buffers of a device and dtype are copied
    together to one flat tensor, which is reused. Sparse, quantized and expanded buffers are not copied; they are
    restored only if a module has replaced them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._owners = [module._buffers for module in model.modules()]
        self._entries: list[tuple[dict[str, Tensor | None], str, Tensor | None]] = []
        self._buffers: list[Tensor] = []
        self._groups: list[_Group] = []

    @torch.no_grad()
    def save(self) -> None:
        """Copies the current buffers."""
        self._entries = [(owner, key, buffer) for owner in self._owners for key, buffer in owner.items()]
        buffers = [buffer for _, _, buffer in self._entries if buffer is not None]
        if len(buffers) != len(self._buffers) or not all(map(operator.is_, buffers, self._buffers)):
            self._buffers = buffers
            groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
            for buffer in filter(is_writable, buffers):
                groups.setdefault((buffer.device, buffer.dtype), []).append(buffer)
            self._groups = [_Group(group) for group in groups.values()]
        for group in self._groups:
            torch._foreach_copy_(group.copies, group.buffers)

    @torch.no_grad()
    def restore(self, where: Tensor | None = None) -> None:
        """Sets the buffers to their values at the last :meth:`save`; removes newer buffers.

        Args:
            where: bool scalar on the device that decides whether to restore; the host does not wait for it. None:
                restore.
        """
        for owner, key, buffer in self._entries:
            now = owner.get(key)
            if now is buffer:
                continue
            if where is None or now is None or buffer is None or not _is_copyable(now, buffer):
                if where is None or bool(where):  # restoring another shape needs the flag on the host
                    owner[key] = buffer
            else:  # the module has replaced the tensor: the old tensor stays, with the new values
                owner[key] = buffer.copy_(now)
        if sum(map(len, self._owners)) > len(self._entries) and (where is None or bool(where)):
            before = {(id(owner), key) for owner, key, _ in self._entries}
            for owner in self._owners:
                for key in [key for key in owner if (id(owner), key) not in before]:
                    del owner[key]
        for group in self._groups:
            if where is None:
                torch._foreach_copy_(group.buffers, group.copies)
            else:
                group.restore_where(where)

    @torch.no_grad()
    def became_nonfinite(self) -> Tensor | None:
        """Returns whether an element is NaN or infinite that was finite at :meth:`save`.

        A bool scalar on the device; None if there are no floating-point buffers.
        """
        flags = [g.became_nonfinite() for g in self._groups if g.flat.is_floating_point() or g.flat.is_complex()]
        return any_of(flags) if flags else None


class _Group:
    """Buffers of one device and dtype, and their copies, which are views of one flat tensor."""

    def __init__(self, buffers: list[Tensor]) -> None:
        self.buffers = buffers
        first, sizes = buffers[0], [buffer.numel() for buffer in buffers]
        self.flat = torch.empty(sum(sizes), dtype=first.dtype, device=first.device)
        self._sizes = sizes
        self.copies = self._views(self.flat)

    def restore_where(self, where: Tensor) -> None:
        chosen = torch.where(where.to(self.flat.device), self.flat, self._now())
        torch._foreach_copy_(self.buffers, self._views(chosen))

    def became_nonfinite(self) -> Tensor:
        return (finite_values(self.flat) & ~finite_values(self._now())).any()

    def _now(self) -> Tensor:
        return torch.cat([buffer.reshape(-1) for buffer in self.buffers])

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split(self._sizes)
        return [part.view(buffer.shape) for part, buffer in zip(parts, self.buffers, strict=True)]


def _is_copyable(first: Tensor, second: Tensor) -> bool:
    """Whether ``second.copy_(first)`` keeps shape, dtype and device."""
    same = (first.shape, first.dtype, first.device) == (second.shape, second.dtype, second.device)
    return same and first.layout == torch.strided and is_writable(second)


def any_of(flags: Iterable[Tensor]) -> Tensor:
    """Returns whether any of some bool scalars is true, on the device of the first."""
    flags = list(flags)
    return torch.stack([flag.to(flags[0].device) for flag in flags]).any()
