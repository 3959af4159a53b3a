"""Several processes that train one model. In a single process all of this does nothing, and costs nothing.

What the hosts tell each other (decisions, results) goes over gloo, also where gradients go over NCCL: a process that
died is noticed there at once, and nobody waits inside a GPU's kernel for one that evaluates.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from segkit.utils.errors import PeerLost, SegkitError

# Seconds that operations between hosts wait at least: the first process computes the metrics meanwhile.
HOST_TIMEOUT = 7200.0
BUCKET_BYTES = 64 * 2**20
_hosts: Any = None  # the group of gloo; None: the default one


def world_size() -> int:
    """How many processes train together; 1 where nothing was set up."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def launched() -> bool:
    """Whether torchrun or the like started this process as one of several."""
    return os.environ.get("WORLD_SIZE", "") not in ("", "1")


def local_rank() -> int:
    """The number of this process among those of its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else 0


@contextmanager
def process_group(device: torch.device, timeout: float) -> Iterator[None]:
    """The processes that torchrun has started, connected while the block runs; nothing in a single process, or where the
    program has connected them itself.

    Args:
        device: what this process computes on: NCCL for CUDA, else gloo.
        timeout: seconds that a process waits for a slow one (it compiles, evaluates, reads from its disk): for its arrival,
            and for its share of an operation of NCCL. Operations between hosts wait at least ``HOST_TIMEOUT``. A process
            that died is noticed at once, for its connection ends.
    Raises:
        SegkitError: the environment does not say what torchrun would, or the others cannot be reached.
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
        barrier()  # nobody takes an end for a death
    finally:
        _hosts = None
        if dist.is_initialized():  # the program may have ended it itself
            dist.destroy_process_group()


@contextmanager
def _peers_told() -> Iterator[None]:
    """Makes torch's error for a connection that ended one of a line: the cause is what the other process says."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0].split("] ")[-1].split(". ")[0]
        raise PeerLost(f"another process of this run has ended, and says why ({reason})") from error


def barrier() -> None:
    """Waits for all processes."""
    if world_size() > 1:
        sum_numbers([0])


@contextmanager
def leader_first() -> Iterator[None]:
    """The block runs in one process of each machine, then in the others: they find its downloads and caches."""
    if local_rank() != 0:
        barrier()
    yield
    if local_rank() == 0:
        barrier()


def sum_numbers(numbers: Sequence[int]) -> list[int]:
    """The sums over all processes."""
    if world_size() == 1:
        return list(numbers)
    table = torch.tensor(list(numbers), dtype=torch.int64)
    with _peers_told():
        dist.all_reduce(table, group=_hosts)
    return table.tolist()


def broadcast(value: Any) -> Any:
    """The main process's ``value``, in all of them."""
    if world_size() == 1:
        return value
    box = [value]
    with _peers_told():
        dist.broadcast_object_list(box, src=0, group=_hosts)
    return box[0]


def gather(value: Any) -> list[Any]:
    """Everybody's ``value`` by rank, in the main process; in the others an empty list."""
    if world_size() == 1:
        return [value]
    found: list[Any] | None = [None] * world_size() if is_main() else None
    with _peers_told():
        dist.gather_object(value, found, dst=0, group=_hosts)
    return found or []


@torch.no_grad()
def average_tensors(tensors: Sequence[Tensor]) -> None:
    """Makes each tensor the mean of everybody's, in place and to the same bit everywhere."""
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        with _peers_told():
            dist.all_reduce(flat)
        _put_back(bucket, flat / world_size())


@torch.no_grad()
def broadcast_tensors(tensors: Sequence[Tensor]) -> None:
    """Gives each tensor the main process's values, in place."""
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        with _peers_told():
            dist.broadcast(flat, src=0)
        _put_back(bucket, flat)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type that together are of about ``BUCKET_BYTES``, in the order given."""
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


def _put_back(tensors: Sequence[Tensor], flat: Tensor) -> None:
    for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view(tensor.shape))
