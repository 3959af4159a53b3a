"""Gradients of several processes: torch's DistributedDataParallel around a model's losses.

Reduction overlaps with the backward pass. In a single process the model is not wrapped.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from segkit.utils import distributed
from segkit.utils.errors import SegkitError

# torch 2.14 has renamed the argument.
_NO_BUFFER_SYNC = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
    else "broadcast_buffers"
)


class _Losses(nn.Module):
    """A module whose forward pass is ``model.losses``, as DistributedDataParallel needs it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, images: Any, targets: Any, generator: Any) -> dict[str, Tensor]:
        return self.model.losses(images, targets, generator)


class ParallelModel:
    """A model whose gradients are means over all processes, bitwise equal in each of them.

    A parameter with a gradient in some processes only counts as zero in the others; one without a gradient in all
    processes stays without. Buffers stay each process's own: evaluation broadcasts those of the first process, which are
    also saved. The model itself is not changed, so the names in its state dict are those of a single process.

    Args:
        model: on its device, with ``losses(images, targets, generator)``.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model: Any = model
        self._parallel: DistributedDataParallel | None = None
        self._trainable: list[bool] = []
        self._has_sync_norm = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())

    def connect(self) -> None:
        """Broadcasts the first process's parameters and buffers; prepares the gradient reduction.

        Raises:
            SegkitError: a synchronised batch norm on a CPU.
            PeerLost: another process has ended.
        """
        if distributed.world_size() == 1:
            return
        distributed.broadcast_tensors([*self._model.parameters(), *self._model.buffers()])
        self._wrap()

    def losses(self, images: Any, targets: Any, generator: Any) -> dict[str, Tensor]:
        """``model.losses``, whose backward pass reduces gradients except within :meth:`no_sync`."""
        if distributed.world_size() == 1:
            return self._model.losses(images, targets, generator)
        if self._parallel is None or self._trainable != self._requires_grad():  # a hook may unfreeze parameters
            self._wrap()
        assert self._parallel is not None
        return self._parallel(images, targets, generator)

    @contextmanager
    def batch(self, *, last: bool) -> Iterator[None]:
        """Context for one batch of a step; the last batch's backward pass reduces the gradients.

        All processes enter the last batch together. Its reduction waits for the others on the device, where a process
        that has died is not noticed and ``train.distributed_timeout`` ends the run. With synchronised batch norms, whose
        forward pass waits on the device too, all processes enter each batch together.

        Raises:
            PeerLost: another process has ended.
        """
        if distributed.world_size() == 1:
            yield
            return
        if last or self._has_sync_norm:
            distributed.barrier()
        with nullcontext() if last else self.no_sync(), distributed.connection_watched():
            yield

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of the block stay this process's own."""
        with nullcontext() if self._parallel is None else self._parallel.no_sync():
            yield

    def _wrap(self) -> None:
        if self._has_sync_norm and next(self._model.parameters()).device.type != "cuda":
            raise SegkitError(
                "norm: sync_bn over several processes needs CUDA, and this run is on the CPU; take bn or gn",
                key="norm",
                value="sync_bn",
            )
        self._trainable = self._requires_grad()
        # Which parameters a step uses depends on its images: without objects there is no mask loss. torch says once on
        # stderr that a step used all of them. A parameter that is always unused would silence that, but let the host
        # wait for the device in each step.
        settings: dict[str, Any] = {_NO_BUFFER_SYNC: False, "find_unused_parameters": True}
        with distributed.connection_watched():
            self._parallel = DistributedDataParallel(
                _Losses(self._model), init_sync=False, gradient_as_bucket_view=True, **settings
            )

    def _requires_grad(self) -> list[bool]:
        return [parameter.requires_grad for parameter in self._model.parameters()]
