"""Runs as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from segkit.config.typecheck import Bounds
from segkit.study.executors.base import EXECUTORS, Executor, Job, Process
from segkit.study.executors.command import RunCommand
from segkit.utils.atomic import atomic_write
from segkit.utils.optional_packages import require

JOB_ID = "slurm_job.txt"  # in the run's folder: the last job that was queued for it


class SlurmProcess(Process):
    """A job of the queue."""

    def __init__(self, job: Any, run: Job) -> None:
        self._job = job
        self._run = run

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception as error:  # submitit's own, and what the cluster did to the job
            with open(self._run.console, "a", encoding="utf-8") as console:
                console.write(
                    f"error: job {self._job.job_id} of the queue failed: {' '.join(str(error).split())[:500]}\n"
                )
            return 1

    def stop(self) -> None:
        self._job.cancel()

    @property
    def place(self) -> str:
        return f"job {self._job.job_id}"


@EXECUTORS.register(name="slurm")
class SlurmExecutor(Executor):
    """Queues each run as a Slurm job, with submitit (``pip install 'segkit[slurm]'``).

    The study's folder must be visible to all nodes. Jobs survive the study's process: started again, it waits for those
    that are still queued or running. A job that is preempted or comes to its time limit is queued again and continues.

    Args:
        partition: of the cluster; null: its default.
        timeout_min: time limit of a job in minutes.
        gpus: of a job.
        cpus: of a job.
        mem_gb: memory of a job; null: the cluster's default.
        max_jobs: jobs in the queue at a time.
        setup: shell lines before the command, as ``module load cuda``.
        parameters: further parameters of sbatch by name, as ``{account: me}``.
        cluster: ``slurm``; ``local`` starts processes on this machine in its place, to try a study out.
    """

    def __init__(
        self,
        folder: os.PathLike[str] | None = None,
        *,
        partition: str | None = None,
        timeout_min: Annotated[int, Bounds(1)] = 24 * 60,
        gpus: Annotated[int, Bounds(0)] = 1,
        cpus: Annotated[int, Bounds(1)] = 8,
        mem_gb: Annotated[float | None, Bounds(0, open_low=True)] = None,
        max_jobs: Annotated[int, Bounds(1)] = 100,
        setup: tuple[str, ...] = (),
        parameters: Mapping[str, Any] = {},
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        require("submitit", "slurm", "executor slurm")
        import submitit

        self._max_jobs = max_jobs
        self._local = cluster == "local"
        self._logs = Path(folder or ".") / "slurm"
        self._executor = submitit.AutoExecutor(folder=str(self._logs), cluster=cluster)
        self._executor.update_parameters(timeout_min=timeout_min, gpus_per_node=gpus, cpus_per_task=cpus)
        if not self._local:
            extra = dict(parameters)
            chosen: dict[str, Any] = {
                "slurm_partition": partition,
                "mem_gb": mem_gb,
                "slurm_setup": list(setup) or None,
            }
            chosen["slurm_additional_parameters"] = extra or None
            self._executor.update_parameters(**{key: value for key, value in chosen.items() if value is not None})

    @property
    def slots(self) -> int:
        return self._max_jobs

    def start(self, job: Job) -> Process:
        self._executor.update_parameters(name=job.name.replace(" ", "_"))
        job.folder.mkdir(parents=True, exist_ok=True)
        queued = self._executor.submit(RunCommand(job))
        with atomic_write(job.folder / JOB_ID) as temporary:
            temporary.write_text(f"{queued.job_id}\n", encoding="utf-8")
        return SlurmProcess(queued, job)

    def running(self, job: Job) -> Process | None:
        file = job.folder / JOB_ID
        if not file.is_file():
            return None
        import submitit

        kind = submitit.LocalJob if self._local else submitit.SlurmJob
        queued: Any = kind(folder=str(self._logs), job_id=file.read_text(encoding="utf-8").strip())
        return None if queued.done(force_check=True) else SlurmProcess(queued, job)
