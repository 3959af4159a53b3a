"""The runs of a plan as tasks: what waits for what, what failed, what is finished."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from segkit.study.executors.base import Job
from segkit.study.plan import PlannedRun
from segkit.study.scheduler import Task
from segkit.study.state import Result, last_error, result, value_text, write_result, write_run_config
from segkit.utils.cli import RESUMABLE
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
FINAL = "model_final.pth"
# The words after the interpreter; then come the configuration file, and --resume or the checkpoint.
TRAIN = ("-m", "segkit", "train", "--config-file")
EVALUATE = ("-m", "segkit.study.evaluate_run")
MAX_INTERRUPTIONS = 10  # of one run, by signals that others sent


class PlanSource:
    """Tasks of the runs that are not finished, in order.

    Args:
        runs: of the plan; a run comes after the one whose model it evaluates.
        metrics: that its evaluation must have, by the run's variant.
    Attributes:
        failures: what went wrong, by the run's name.
    """

    def __init__(self, runs: Sequence[PlannedRun], metrics: Mapping[str, Sequence[str]]) -> None:
        self.metrics = metrics
        self.total = len(runs)
        self.results: dict[Path, Result] = {run.folder: found for run in runs if (found := result(run)) is not None}
        self.failures: dict[str, str] = {}
        self._failed: set[Path] = set()
        self._waiting = [run for run in runs if run.folder not in self.results]
        self._interruptions: dict[Path, int] = {}

    def next_task(self) -> Task | None:
        for run in list(self._waiting):
            if run.parent in self._failed:
                self._waiting.remove(run)
                self._fail(run, f"the run whose model it evaluates, {run.parent}, is not finished")
            elif run.parent is None or run.parent in self.results:
                self._waiting.remove(run)
                return make_task(run)
        return None

    def ended(self, task: Task, status: int | None) -> None:
        run = task.run
        if status is None:
            self._waiting.insert(0, run)  # --resume finds out how far it came
        elif status == RESUMABLE:
            count = self._interruptions[run.folder] = self._interruptions.get(run.folder, 0) + 1
            if count > MAX_INTERRUPTIONS:
                self._fail(run, f"it was interrupted {count} times")
            else:
                logger.warning("%s: interrupted; it has saved its state", run.name)
                self._waiting.insert(0, run)
        elif status != 0:
            self._fail(run, f"exit status {status}: {last_error(task.job.console)} (log: {task.job.console})")
        else:
            self._finish(run)

    def done(self) -> bool:
        return not self._waiting

    def waiting(self) -> int:
        return len(self._waiting)

    def _finish(self, run: PlannedRun) -> None:
        try:
            found = self.results[run.folder] = write_result(run, self.metrics[run.variant])
        except SegkitError as error:
            self._fail(run, str(error))
            return
        values = {metric: found.value(metric) for metric in self.metrics[run.variant]}
        text = ", ".join(f"{metric} {value_text(value)}" for metric, value in values.items())
        logger.info("%s: finished, %s (%d of %d)", run.name, text, len(self.results), self.total)

    def _fail(self, run: PlannedRun, reason: str) -> None:
        self._failed.add(run.folder)
        self.failures[run.name] = reason
        logger.error("%s: failed: %s", run.name, reason)


def make_task(run: PlannedRun) -> Task:
    """Writes the run's configuration and returns the process to start.

    A training that resumes, or an evaluation.
    """
    file = write_run_config(run).absolute()
    if run.parent is None:
        words = [*TRAIN, str(file), "--resume"]
    else:
        words = [*EVALUATE, str(file), str((run.parent / FINAL).absolute())]
    job = Job(run.name, (sys.executable, *words), run.folder.absolute(), Path.cwd())
    return Task(run, job)
