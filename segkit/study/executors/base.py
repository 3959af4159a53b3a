"""Interface of executors, and their registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.registry import Registry

EXECUTORS = Registry("EXECUTOR", "segkit.study.executors", runtime=["folder"], makes=["start", "slots"])


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        name: for messages and queues.
        command: words, the first one the interpreter.
        folder: of the run; the output of the command is appended to ``console.txt`` in it.
        working_dir: where the command runs, so that relative paths in configurations mean the same.
    """

    name: str
    command: Sequence[str]
    folder: Path
    working_dir: Path

    @property
    def console(self) -> Path:
        """The file with the command's output."""
        return self.folder / "console.txt"


class Process(ABC):
    """A job that was started.

    Attributes:
        inherited: whether an earlier study started it, so that its exit status is unknown.
    """

    inherited = False

    @abstractmethod
    def poll(self) -> int | None:
        """Returns the exit status; None while it runs or waits in a queue."""

    @abstractmethod
    def stop(self) -> None:
        """Asks the job to save and end, as SIGTERM does; returns at once."""

    def kill(self) -> None:
        """Ends the job without saving."""
        self.stop()

    @property
    def place(self) -> str:
        """Where it runs, for the log: a device, the number of a queue's job."""
        return ""


class Executor(ABC):
    """Starts jobs; the scheduler starts at most ``slots`` at a time."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs may be started at a time."""

    @abstractmethod
    def start(self, job: Job) -> Process:
        """Starts a job."""

    def running(self, job: Job) -> Process | None:
        """Returns the job's process if an earlier, killed study started it and it still runs."""
        return None

    def close(self) -> None:  # noqa: B027 - most executors have nothing to close
        """Called at the end of the study."""


def environment(base: Mapping[str, str], *, device: str | None, threads: int | None) -> dict[str, str]:
    """The environment of a job.

    The given one, its GPU, and its share of the processors' threads.

    Args:
        base: of this process.
        device: for CUDA_VISIBLE_DEVICES; None: as it is.
        threads: for OMP_NUM_THREADS; None: as it is.
    """
    changed = dict(base)
    if device is not None:
        changed["CUDA_VISIBLE_DEVICES"] = device
    if threads is not None:
        changed["OMP_NUM_THREADS"] = str(threads)
    return changed
