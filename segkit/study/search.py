"""Search by Optuna: trials that pause exactly at rungs, and are pruned or continued."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.config.nodes import Node
from segkit.config.schema import Config
from segkit.study.executors.base import Executor
from segkit.study.optuna_storage import PRUNERS, SAMPLERS, STORAGE, make_sampler, open_storage
from segkit.study.plan import Plan, PlannedRun, Variant, variant_config
from segkit.study.scheduler import Task, run_tasks
from segkit.study.search_space import Dimension, search_space
from segkit.study.sources import MAX_INTERRUPTIONS, make_task
from segkit.study.state import Result, changes, last_error, last_evaluation, result, value_text, write_result
from segkit.study.study_file import Search, StudyDescription
from segkit.study.trial_tables import TRIALS, write_trials
from segkit.utils.cli import RESUMABLE
from segkit.utils.errors import SegkitError, counted, did_you_mean
from segkit.utils.optional_packages import require

logger = logging.getLogger(__name__)


def check_search(study: StudyDescription, plan: Plan, overrides: Sequence[str]) -> None:
    """Checks the search.

    Each choice and both ends of each range must make a valid configuration.

    Raises:
        SegkitError: a mistake in it, or Optuna is not installed.
    """
    search = study.settings.search
    assert search is not None
    require("optuna", "optuna", "search")
    for name, value, choices in (("sampler", search.sampler, SAMPLERS), ("pruner", search.pruner, PRUNERS)):
        if value not in choices:
            raise SegkitError(f"search.{name}: '{value}' is not one of the choices{did_you_mean(value, choices)}")
    if study.settings.base is None:
        raise SegkitError(f"{study.label}: search: needs 'base', the configuration file of its trials", key="base")
    space = search_space(study)
    maker = _TrialMaker(study, plan.output, overrides)
    first = {one.key: one.examples()[0] for one in space}
    for one in space:
        for value in one.examples():
            config = maker.run(0, {**first, one.key: value}).config
    if search.rungs:
        total = config.train.iterations
        if total is None:
            raise SegkitError("search.rungs are iterations: set budget.iterations, not epochs", key="search.rungs")
        if list(search.rungs) != sorted(set(search.rungs)) or not 0 < search.rungs[0] <= search.rungs[-1] < total:
            raise SegkitError(
                f"search.rungs: expected ascending iterations between 1 and {total - 1}, given {list(search.rungs)}",
                key="search.rungs",
            )


def search_text(search: Search) -> str:
    """The line about the search in ``--dry-run``."""
    rungs = f", pruned ({search.pruner}) after iterations {', '.join(map(str, search.rungs))}" if search.rungs else ""
    return f"search: {counted(search.trials, 'trial')} by {search.sampler} over {', '.join(search.space)}{rungs}"


def run_search(
    study: StudyDescription, plan: Plan, executor: Executor, *, overrides: Sequence[str] = ()
) -> dict[str, str]:
    """Runs the trials that are missing.

    Writes ``search.md`` and ``search.csv`` into the study's folder.

    Returns:
        The trials that failed, and why.
    """
    source = TrialSource(study, plan.output, overrides)
    run_tasks(source, executor)
    write_search_tables(study, plan)
    return source.failures


def write_search_tables(study: StudyDescription, plan: Plan) -> None:
    """Writes ``search.md`` and ``search.csv`` of the trials so far."""
    if not (plan.output / STORAGE).is_file():
        logger.info("no trial was started")
        return
    keys = [one.key for one in search_space(study)]
    write_trials(open_storage(study.settings, plan.output), plan.output, study.settings.metric, keys)


class _TrialMaker:
    """Makes the runs of trials."""

    def __init__(self, study: StudyDescription, output: Path, overrides: Sequence[str]) -> None:
        self.study, self.output, self.overrides = study, output, list(overrides)
        self.bases: dict[str, Config] = {}
        assert study.settings.search is not None
        self.search = study.settings.search

    def run(self, number: int, values: Mapping[str, Any], pause: int | None = None) -> PlannedRun:
        """The run of a trial up to a rung; None: to its end."""
        settings = self.study.settings
        assert settings.base is not None
        nodes = [*self.study.nodes("overrides").items()]
        nodes += [(key, Node.of(value, f"trial {number}")) for key, value in values.items()]
        name = f"trial_{number:04}"
        variant = Variant(name, self.study.base_path(settings.base), nodes, None, values)
        seed = settings.seeds[0]
        folder = self.output / TRIALS / name
        config = variant_config(variant, settings.budget, seed, folder, self.overrides, bases=self.bases)
        if self.search.rungs:
            config = config.with_values({"train.eval_period": math.gcd(*self.search.rungs)}, "search.rungs")
        if pause is not None:
            hooks = [dict(hook) for hook in config.to_dict()["hooks"]]
            config = config.with_values({"hooks": [*hooks, {"name": "PauseAt", "iteration": pause}]}, "search.rungs")
        return PlannedRun(name, seed, folder, config)


class TrialSource:
    """Trials as tasks: each trains to its next rung.

    There it reports its metric, and is pruned or continued.

    Optuna's storage holds what was chosen and reported; the runs' folders hold the models. After a kill both are read again.

    Attributes:
        failures: what went wrong, by the trial's name.
    """

    def __init__(self, study: StudyDescription, output: Path, overrides: Sequence[str]) -> None:
        import optuna

        assert study.settings.search is not None
        self.search, self.metric, self.output = study.settings.search, study.settings.metric, output
        self.space: list[Dimension] = search_space(study)
        self.maker = _TrialMaker(study, output, overrides)
        self.failures: dict[str, str] = {}
        self._interruptions: dict[int, int] = {}
        self.optuna_study = open_storage(study.settings, output)
        self._check_unchanged()
        running = self.optuna_study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        self._begun = [optuna.trial.Trial(self.optuna_study, frozen._trial_id) for frozen in running]
        self._tasks: dict[Path, Any] = {}

    def next_task(self) -> Task | None:
        while self._begun:
            task = self._task(self._begun.pop(0))
            if task is not None:
                return task
        if len(self.optuna_study.get_trials(deepcopy=False)) >= self.search.trials:
            return None
        self.optuna_study.sampler = make_sampler(self.search, 0)
        return self._task(self.optuna_study.ask())

    def ended(self, task: Task, status: int | None) -> None:
        trial = self._tasks.pop(task.run.folder)
        if status is None or status == RESUMABLE:
            reached = last_evaluation(task.run.folder)
            rung = self._next_rung(trial)
            if status is not None and (reached is None or reached.iteration < (rung or math.inf)):
                self._interruptions[trial.number] = self._interruptions.get(trial.number, 0) + 1
            if self._interruptions.get(trial.number, 0) > MAX_INTERRUPTIONS:
                self._fail(task.run, trial, f"it was interrupted {MAX_INTERRUPTIONS} times before its next rung")
            else:
                self._begun.insert(0, trial)
        elif status != 0:
            self._fail(
                task.run, trial, f"exit status {status}: {last_error(task.job.console)} (log: {task.job.console})"
            )
        else:
            self._complete(task.run, trial, write_result(task.run, [self.metric]))

    def done(self) -> bool:
        return not self._begun

    def waiting(self) -> int:
        return self.search.trials - len(self.optuna_study.get_trials(deepcopy=False)) + len(self._begun)

    def _task(self, trial: Any) -> Task | None:
        """The trial's next process.

        None if it needs none: it is pruned, or was finished before a kill.
        """
        values = self._values(trial)
        whole = self.maker.run(trial.number, values)
        if (found := result(whole)) is not None:
            self._complete(whole, trial, found)
            return None
        reached = last_evaluation(whole.folder)
        for rung in self.search.rungs:
            if reached is None or reached.iteration < rung:
                break
            if rung not in self._reported(trial):
                if reached.iteration != rung:
                    continue  # a rung of an earlier study file, which this trial has passed
                value = reached.value(self.metric)
                # Nothing was measured, as before the first detection: the worst of all.
                trial.report(math.nan if value is None else value, rung)
                logger.info("trial %d: %s %s at iteration %d", trial.number, self.metric, value_text(value), rung)
            if reached.iteration == rung and trial.should_prune():
                self._prune(trial, rung)
                return None
        run = self.maker.run(trial.number, values, self._next_rung(trial))
        self._tasks[run.folder] = trial
        return make_task(run)

    def _values(self, trial: Any) -> dict[str, Any]:
        """The trial's values: chosen now, or those in the storage."""
        values = {}
        for index, dimension in enumerate(self.space):
            # A sampler of its own for each value, so that a search continued after a kill makes the same choices.
            self.optuna_study.sampler = make_sampler(self.search, 1 + 1009 * trial.number + index)
            try:
                values[dimension.key] = dimension.suggest(trial)
            except ValueError as error:
                raise SegkitError(
                    f"search.space.{dimension.key}: does not fit the trials in {self.output / STORAGE} ({error}); choose "
                    "another folder with --output"
                ) from error
        return values

    def _reported(self, trial: Any) -> Mapping[int, float]:
        frozen = next(one for one in self.optuna_study.get_trials(deepcopy=False) if one.number == trial.number)
        values: Mapping[int, float] = frozen.intermediate_values
        return values

    def _next_rung(self, trial: Any) -> int | None:
        reported = self._reported(trial)
        return next((rung for rung in self.search.rungs if rung > max(reported, default=0)), None)

    def _prune(self, trial: Any, rung: int) -> None:
        import optuna

        self.optuna_study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
        logger.info("trial %d: pruned after %d iterations", trial.number, rung)

    def _complete(self, run: PlannedRun, trial: Any, found: Result) -> None:
        """Reports the result of a finished trial to Optuna."""
        value = found.value(self.metric)
        if value is None:
            self._fail(run, trial, f"its evaluation has nothing to measure {self.metric} by")
            return
        self.optuna_study.tell(trial.number, value)
        logger.info("trial %d: finished, %s %s", trial.number, self.metric, value_text(value))

    def _fail(self, run: PlannedRun, trial: Any, reason: str) -> None:
        import optuna

        self.optuna_study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        self.failures[run.variant] = reason
        logger.error("%s: failed: %s", run.variant, reason)

    def _check_unchanged(self) -> None:
        """Raises SegkitError if a trial was started with another base or other common values."""
        for frozen in self.optuna_study.get_trials(deepcopy=False):
            if set(frozen.params) != {one.key for one in self.space}:
                continue  # killed while it chose, or of another space, whose trials Optuna keeps
            run = self.maker.run(frozen.number, self._stored(frozen.params))
            keys = [one.key for one in changes(run) if not one.key.startswith(("hooks", "train.eval_period"))]
            if keys:
                raise SegkitError(
                    f"{run.folder} started with another configuration ({', '.join(keys[:3])}); its trials cannot be compared "
                    "with new ones: choose another folder with --output"
                )

    def _stored(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the configuration from those that Optuna stores."""
        import optuna

        fixed = optuna.trial.FixedTrial(dict(params))
        return {one.key: one.suggest(fixed) for one in self.space}
