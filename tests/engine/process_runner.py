"""Runs a function in several connected processes."""

import multiprocessing
import os
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch

from segkit.utils import distributed

CONTEXT = multiprocessing.get_context("forkserver")  # imports torch once
CONTEXT.set_forkserver_preload(["torch", "numpy", "segkit.engine.run", "processes"])


def free_port():
    """A free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run_in_processes(function, count, *arguments, timeout=60):
    """Returns ``function(*arguments)`` of each of ``count`` connected processes.

    An exception is returned as its text; a process that died returns None.
    """
    port = free_port()
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")  # the fork server has those of the test that started it
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(rank) for rank in range(count)]
        work = [(rank, count, port, gpus, file, function, arguments) for rank, file in enumerate(files)]
        started = [CONTEXT.Process(target=_work, args=one) for one in work]
        for process in started:
            process.start()
        for process in started:
            process.join(timeout)
        hanging = [process for process in started if process.is_alive()]
        for process in hanging:
            process.kill()
        assert not hanging, f"{len(hanging)} of {count} processes hang"
        return [torch.load(file, weights_only=False) if file.exists() else None for file in files]


def _work(rank, count, port, gpus, file, function, arguments):
    torch.set_num_threads(1)
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    try:
        with distributed.process_group(torch.device("cpu"), 60):
            value = function(*arguments)
    except BaseException as error:
        value = f"{type(error).__name__}: {error}"
    torch.save(value, file)


@contextmanager
def environment(**values):
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
