"""Several processes that train one model. In a single process all functions return at once.

Hosts exchange decisions and results over gloo, also if gradients go over NCCL: gloo notices at once that a process has
died, and no GPU waits in a kernel for a process that evaluates.

A training step has these operations between processes, in this order:

1. ``barrier`` on the hosts, before the forward pass of the batch whose backward pass reduces gradients: all have their
   batch. With synchronised batch norms, whose forward pass waits on the device, it precedes each batch.
2. The reduction of gradients on the device, in buckets that overlap with the backward pass
   (:mod:`segkit.engine.data_parallel`).
3. ``sum_integers`` on the hosts, once, before the update, in one tensor: the counts of data, whether a signal came, and a
   hash of the losses' names. (Only if processes have different losses, their names are exchanged too.) It also ensures
   that every process has finished its backward pass, before a weight changes.
4. ``mean`` of the losses on the device. They are not in 3, because reading them would make each step wait for the device.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from segkit.utils.errors import PeerLost, SegkitError

# Hosts wait at least this many seconds, for example while the first process computes metrics.
HOST_TIMEOUT = 7200.0
BUCKET_BYTES = 64 * 2**20
_CONNECTION = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset)|Broken pipe")
_hosts: Any = None  # the process group over gloo; None: the default group


def world_size() -> int:
    """Returns the number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this is the first process, which writes."""
    return rank() == 0


def launched() -> bool:
    """Whether torchrun or another launcher started this process as one of several."""
    return os.environ.get("WORLD_SIZE", "") not in ("", "1")


def local_rank() -> int:
    """Returns the number of this process on its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else 0


@contextmanager
def process_group(device: torch.device, timeout: float) -> Iterator[None]:
    """Connects the processes that torchrun has started, while the block runs.

    It does nothing in a single process, or if the program has connected the processes itself.

    Args:
        device: of this process: NCCL for CUDA, else gloo.
        timeout: seconds that a process waits for a slow one (it compiles, evaluates, reads from its disk) to connect, and
            for its part in an operation of NCCL. A process that died is noticed at once: its connection ends.
            Operations between hosts wait at least ``HOST_TIMEOUT``.
    Raises:
        SegkitError: torchrun's environment variables are missing, or the other processes cannot be reached.
    """
    global _hosts
    if not launched() or dist.is_initialized():
        yield
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise SegkitError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} are not set: start several processes with "
            "torchrun or --num-gpus, and a single one without WORLD_SIZE"
        )
    host_timeout = timedelta(seconds=max(timeout, HOST_TIMEOUT))
    try:
        if device.type == "cuda":
            dist.init_process_group("nccl", timeout=timedelta(seconds=timeout))
            _hosts = dist.new_group(backend="gloo", timeout=host_timeout)
        else:
            dist.init_process_group("gloo", timeout=host_timeout)
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).splitlines()[0]
        raise SegkitError(f"the processes of the run cannot reach each other by {address}: {reason}") from error
    try:
        yield
        barrier()  # else the first to disconnect looks like a process that died
    finally:
        _hosts = None
        if dist.is_initialized():  # the program may have ended it itself
            dist.destroy_process_group()


@contextmanager
def _collective() -> Iterator[None]:
    """Raises PeerLost for torch's error of an operation between processes; the other process logs the cause."""
    try:
        yield
    except RuntimeError as error:
        raise _peer_lost(error) from error


@contextmanager
def connection_watched() -> Iterator[None]:
    """Raises PeerLost for a connection error in the block; other errors pass unchanged.

    For forward and backward passes, in which gradients and statistics are reduced.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or _CONNECTION.search(str(error)):
            raise _peer_lost(error) from error
        raise


def _peer_lost(error: RuntimeError) -> PeerLost:
    """Returns the error for a lost connection, and aborts operations of NCCL that wait for the lost process.

    Otherwise copying the weights for a last checkpoint would wait for these operations.
    """
    if dist.is_initialized() and dist.get_backend() == "nccl" and (group := dist.group.WORLD) is not None:
        with suppress(RuntimeError):
            group.abort()
    reason = str(error).splitlines()[0].split("] ")[-1].split(". ")[0]
    return PeerLost(f"another process of this run has ended, and its own message says why ({reason})")


def barrier() -> None:
    """Waits for all processes. Raises PeerLost if one has ended."""
    if world_size() > 1:
        sum_integers([0])


@contextmanager
def leader_first() -> Iterator[None]:
    """Runs the block in one process of each machine, then in the others, which use its caches."""
    if local_rank() != 0:
        barrier()
    yield
    if local_rank() == 0:
        barrier()


def sum_integers(integers: Sequence[int]) -> list[int]:
    """Returns the sum of each integer over all processes, by one operation between the hosts."""
    if world_size() == 1:
        return list(integers)
    table = torch.tensor(list(integers), dtype=torch.int64)
    with _collective():
        dist.all_reduce(table, group=_hosts)
    return table.tolist()


def broadcast(value: Any) -> Any:
    """Returns the first process's ``value`` in all of them."""
    if world_size() == 1:
        return value
    box = [value]
    with _collective():
        dist.broadcast_object_list(box, src=0, group=_hosts)
    return box[0]


def gather(value: Any) -> list[Any]:
    """Returns every process's ``value`` by rank in the first process, else an empty list."""
    if world_size() == 1:
        return [value]
    found: list[Any] | None = [None] * world_size() if is_main() else None
    with _collective():
        dist.gather_object(value, found, dst=0, group=_hosts)
    return found or []


@torch.no_grad()
def mean(tensor: Tensor) -> Tensor:
    """Returns the mean of all processes' ``tensor``, bitwise equal in each; changes ``tensor``."""
    if world_size() == 1:
        return tensor
    with _collective():
        dist.all_reduce(tensor)
    return tensor / world_size()


@torch.no_grad()
def broadcast_tensors(tensors: Sequence[Tensor]) -> None:
    """Overwrites each tensor with the first process's."""
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        with _collective():
            dist.broadcast(flat, src=0)
        _copy_to(bucket, flat)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yields groups of tensors of one dtype, in order, of about ``BUCKET_BYTES`` each."""
    if world_size() == 1:
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        bucket: list[Tensor] = []
        size = 0
        for tensor in (tensor for tensor in tensors if tensor.dtype == dtype):
            bucket.append(tensor)
            size += tensor.numel() * tensor.element_size()
            if size >= BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket


def _copy_to(tensors: Sequence[Tensor], flat: Tensor) -> None:
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))
