"""Runs as tasks of a Ray cluster."""

from __future__ import annotations

import os
from typing import Annotated, Any

from segkit.config.typecheck import Bounds
from segkit.study.executors.base import EXECUTORS, Executor, Job, Process
from segkit.study.executors.command import RunCommand
from segkit.utils.cli import RESUMABLE
from segkit.utils.errors import SegkitError
from segkit.utils.optional_packages import require


class RayProcess(Process):
    """A task of the cluster."""

    def __init__(self, reference: Any, run: Job) -> None:
        self._reference = reference
        self._run = run
        self._stopped = False

    def poll(self) -> int | None:
        import ray

        done, _ = ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            return int(ray.get(self._reference))
        except ray.exceptions.RayError as error:
            if self._stopped:
                return RESUMABLE  # cancelled before or while it ran; the run's folder has what it saved
            with open(self._run.console, "a", encoding="utf-8") as console:
                console.write(f"error: the Ray task failed: {' '.join(str(error).split())[:500]}\n")
            return 1

    def stop(self) -> None:
        import ray

        self._stopped = True
        ray.cancel(self._reference)

    @property
    def place(self) -> str:
        return "a Ray task"


@EXECUTORS.register(name="ray")
class RayExecutor(Executor):
    """Starts each run as a Ray task (``pip install 'segkit[ray]'``).

    The study's folder must be visible to all nodes. Tasks end with the study's process; started again, it continues them.

    Args:
        address: of the cluster, as ``auto`` or ``ray://HOST:10001``; null: Ray is started on this machine.
        gpus: of a task.
        cpus: of a task.
        max_tasks: tasks at a time, waiting ones included.
        retries: how often a task is started again after its node was lost; it continues from its last checkpoint.
    """

    def __init__(
        self,
        folder: os.PathLike[str] | None = None,
        *,
        address: str | None = None,
        gpus: Annotated[float, Bounds(0)] = 1,
        cpus: Annotated[float, Bounds(0)] = 4,
        max_tasks: Annotated[int, Bounds(1)] = 100,
        retries: Annotated[int, Bounds(0)] = 3,
    ) -> None:
        require("ray", "ray", "executor ray")
        import ray

        self._max_tasks = max_tasks
        self._started = not ray.is_initialized()
        if self._started:
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise SegkitError(
                    f"executor.address: Ray cannot be reached: {error}", key="executor.address"
                ) from error
        have = ray.cluster_resources()
        for name, asked in (("GPU", gpus), ("CPU", cpus)):
            if asked > have.get(name, 0):
                raise SegkitError(
                    f"executor.{name.lower()}s: a run asks for {asked:g}, the whole cluster has {have.get(name, 0):g}",
                    key=f"executor.{name.lower()}s",
                )
        self._options = {"num_gpus": gpus, "num_cpus": cpus, "max_retries": retries}

    @property
    def slots(self) -> int:
        return self._max_tasks

    def start(self, job: Job) -> Process:
        import ray

        job.folder.mkdir(parents=True, exist_ok=True)
        task = ray.remote(_run_command).options(name=job.name, **self._options)
        return RayProcess(task.remote(RunCommand(job)), job)

    def close(self) -> None:
        import ray

        if self._started:
            ray.shutdown()


def _run_command(command: RunCommand) -> int:
    return command()
