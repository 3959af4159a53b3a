"""Runs a job's command in a child process, under the lock of the run's folder."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from segkit.study.executors.base import Job
from segkit.study.locks import acquire, lock_file

POLL = 1.0  # seconds between two looks at a lock


@dataclass(frozen=True)
class RunCommand:
    """Calls a job's command on another machine, or in a queue's process; pickled by executors.

    The process inherits the lock of the run's folder, so that no second one starts while it lives, on a file system that has
    locks for all machines.
    """

    job: Job

    def __call__(self) -> int:
        """Runs the command to its end; returns its exit status.

        A KeyboardInterrupt, by which queues cancel, becomes SIGTERM for the command, which saves and ends.
        """
        job = self.job
        job.folder.mkdir(parents=True, exist_ok=True)
        with open(job.console, "ab") as console, open(lock_file(job.folder), "a", encoding="utf-8") as lock:
            while not acquire(lock):
                time.sleep(POLL)
            process = subprocess.Popen(
                list(job.command), stdout=console, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                cwd=job.working_dir, pass_fds=[lock.fileno()], env=dict(os.environ),
            )  # fmt: skip
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    process.send_signal(signal.SIGTERM)

    def checkpoint(self) -> Any:
        """Called by submitit before a time limit or preemption.

        The job is queued again, and continues.

        Slurm's signal reaches the command too, if the queue sends it to all processes of the job.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
