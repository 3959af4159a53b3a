"""Runs on this machine: a process each, over its GPUs or its processors."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Annotated

from segkit.config.typecheck import Bounds
from segkit.study.executors.base import EXECUTORS, Executor, Job, Process, environment
from segkit.study.locks import acquire, lock_file, locked
from segkit.utils.errors import SegkitError


class LocalProcess(Process):
    """A child process."""

    def __init__(self, process: subprocess.Popen[bytes], place: str) -> None:
        self._process = process
        self._place = place

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    @property
    def place(self) -> str:
        return self._place


class OrphanedProcess(Process):
    """A process of a study that was killed; its lock shows when it ends."""

    inherited = True

    def __init__(self, job: Job) -> None:
        self._file = lock_file(job.folder)

    def poll(self) -> int | None:
        return None if locked(self._file) else 0

    def stop(self) -> None:
        """Sends SIGTERM to the process that the run's own lock names."""
        name = self._file.with_name(".lock")
        words = name.read_text(encoding="utf-8").split() if name.is_file() else []
        if len(words) > 1 and words[0] == "process" and words[1].isdigit() and locked(self._file):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(words[1]), signal.SIGTERM)

    @property
    def place(self) -> str:
        return "in the process of an earlier, killed study"


@EXECUTORS.register(name="local")
class LocalExecutor(Executor):
    """Starts processes on this machine, one for each GPU; without GPUs, as many as ``jobs``.

    A GPU run sees one GPU (CUDA_VISIBLE_DEVICES). The processors are divided among the runs (OMP_NUM_THREADS).

    Args:
        jobs: runs at a time; null: one for each GPU, one without GPUs. More than the GPUs share them.
    """

    def __init__(
        self, folder: os.PathLike[str] | None = None, *, jobs: Annotated[int, Bounds(1)] | None = None
    ) -> None:
        if jobs is not None and jobs < 1:
            raise SegkitError(f"jobs: expected at least 1, got {jobs}", key="jobs", value=jobs)
        self.devices = visible_gpus()
        self._jobs = jobs or max(1, len(self.devices))
        self._processes: list[tuple[subprocess.Popen[bytes], str]] = []

    @property
    def slots(self) -> int:
        return self._jobs

    def start(self, job: Job) -> Process:
        device = self._free_device()
        own = "OMP_NUM_THREADS" in os.environ and self._jobs == 1  # the user's setting stays
        threads = None if own else max(1, (os.cpu_count() or 1) // self._jobs)
        env = environment(os.environ, device=device, threads=threads)
        job.folder.mkdir(parents=True, exist_ok=True)
        # The lock is inherited, so it lasts as long as the process, even if this one is killed.
        with open(job.console, "ab") as console, open(lock_file(job.folder), "a", encoding="utf-8") as lock:
            if not acquire(lock):
                raise SegkitError(f"'{job.folder}' is in use by another run", value=str(job.folder))
            process = subprocess.Popen(
                list(job.command), stdout=console, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env,
                cwd=job.working_dir, pass_fds=[lock.fileno()], start_new_session=True,
            )  # fmt: skip
        if device is not None:
            self._processes.append((process, device))
        place = f"GPU {device}" if device is not None else f"{env.get('OMP_NUM_THREADS', 'all')} threads"
        return LocalProcess(process, f"process {process.pid}, {place}")

    def running(self, job: Job) -> Process | None:
        return OrphanedProcess(job) if locked(lock_file(job.folder)) else None

    def _free_device(self) -> str | None:
        """The GPU with the fewest runs; None without GPUs."""
        self._processes = [(process, device) for process, device in self._processes if process.poll() is None]
        taken = [device for _, device in self._processes]
        return min(self.devices, key=taken.count) if self.devices else None


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in named.split(",")][:count] if named else [str(i) for i in range(count)]
