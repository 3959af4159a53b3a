"""Starts tasks on an executor, watches them, and stops them on a signal."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from segkit.study.executors.base import Executor, Job, Process
from segkit.study.plan import PlannedRun
from segkit.study.state import last_iteration
from segkit.utils.errors import RunInterrupted, counted

logger = logging.getLogger(__name__)
POLL = 0.2  # seconds between two looks at the processes
REPORT = 60.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Task:
    """A run's process to start."""

    run: PlannedRun
    job: Job


class TaskSource(Protocol):
    """What is to be done, and what follows from what was done."""

    def next_task(self) -> Task | None:
        """Returns a task that can start now; None if there is none at present."""

    def ended(self, task: Task, status: int | None) -> None:
        """Called when a task's process has ended.

        None: it belonged to an earlier study, and its status is unknown.
        """

    def done(self) -> bool:
        """Whether no task will follow, provided that none runs."""

    def waiting(self) -> int:
        """How many runs have not been started."""


def run_tasks(source: TaskSource, executor: Executor) -> None:
    """Runs all tasks of a source, at most ``executor.slots`` at a time.

    The first SIGINT or SIGTERM is passed on to the processes, which save and end; the second one kills them.

    Raises:
        RunInterrupted: a signal came; no process is left.
    """
    active: list[tuple[Task, Process]] = []
    reported = time.monotonic()
    with _signals() as signals:
        stopped = 0
        while True:
            while not signals and len(active) < executor.slots and (task := source.next_task()) is not None:
                active.append((task, _start(task, executor)))
            if not active:
                break
            time.sleep(POLL)
            if len(signals) > stopped:
                for _, process in active:
                    process.stop() if stopped == 0 else process.kill()
                stopped = len(signals)
                logger.warning("stopping %s; a second signal kills them", counted(len(active), "run"))
            for one in list(active):
                task, process = one
                status = process.poll()
                if status is None:
                    continue
                active.remove(one)
                source.ended(task, None if process.inherited else status)
            if time.monotonic() - reported > REPORT:
                reported = time.monotonic()
                _report(active, source.waiting())
        if signals:
            raise RunInterrupted(signals[0])
    assert source.done(), "tasks wait for others that never start"


def _start(task: Task, executor: Executor) -> Process:
    process = executor.running(task.job)
    if process is None:
        process = executor.start(task.job)
        begin = last_iteration(task.run.folder)
        logger.info("%s: started%s (%s)", task.run.name, f" from iteration {begin}" if begin else "", process.place)
    else:
        logger.info("%s: runs already (%s)", task.run.name, process.place)
    return process


def _report(active: list[tuple[Task, Process]], waiting: int) -> None:
    states = [f"{task.run.name} at iteration {last_iteration(task.run.folder)}" for task, _ in active]
    logger.info("%d running, %d waiting: %s", len(active), waiting, "; ".join(states[:8]))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yields the SIGINTs and SIGTERMs that have come in the block."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
