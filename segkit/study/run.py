"""A study from its file to its tables."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from segkit.config.spec import Spec
from segkit.study.executors.base import EXECUTORS, Executor
from segkit.study.locks import check_platform, lock_file, lock_study, locked
from segkit.study.outcome import write_outcome
from segkit.study.plan import Plan, PlannedRun, plan_study
from segkit.study.scheduler import run_tasks
from segkit.study.sources import PlanSource
from segkit.study.state import changes, result, started
from segkit.study.study_file import StudyDescription, read_study
from segkit.utils.errors import SegkitError, counted, did_you_mean
from segkit.utils.logging import setup_logging

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What the command line changes.

    Attributes:
        overrides: values of all runs, as for ``segkit train``.
        output: the study's folder; None: the file's.
        seeds: None: the file's.
        jobs: runs at a time on this machine; None: the file's.
        only: names of the variants to run; empty: all.
        restart_changed: whether a run whose configuration has changed starts again. Its files are moved aside.
    """

    overrides: tuple[str, ...] = ()
    output: str | None = None
    seeds: tuple[int, ...] | None = None
    jobs: int | None = None
    only: tuple[str, ...] = ()
    restart_changed: bool = False


def run_study(path: str, options: StudyOptions | None = None) -> dict[str, str]:
    """Runs what is not finished of a study, and writes its tables, plots and report.

    All state is on the disk: started again after any end, the study continues with the same results.

    Args:
        path: the study file.
        options: None: the file's own settings.
    Returns:
        What went wrong, by the run's name; empty if all runs are finished.
    Raises:
        SegkitError: a mistake in the file or a configuration, before anything starts; a folder that is in use; a run whose
            configuration has changed; a system without locks that processes inherit.
        RunInterrupted: a signal came; the runs have saved their states.
    """
    options = options or StudyOptions()
    study, plan = prepare(path, options)
    check_platform()
    with lock_study(plan.output):
        setup_logging(plan.output)
        runs = chosen_runs(plan, options.only)
        settle_changes(plan, runs, restart=options.restart_changed)
        executor = make_executor(study, plan, options.jobs)
        failures: dict[str, str] = {}
        try:
            if runs:
                source = PlanSource(runs, {name: compared_metrics(study, name) for name in plan.variants})
                logger.info(
                    "%s in %s, %d finished; %d at a time (%s)",
                    counted(len(runs), "run"), plan.output, len(source.results), executor.slots, executor_name(study),
                )  # fmt: skip
                run_tasks(source, executor)
                failures.update(source.failures)
            if study.settings.search is not None:
                from segkit.study.search import run_search

                failures.update(run_search(study, plan, executor, overrides=options.overrides))
        finally:
            executor.close()
        if plan.variants:
            write_outcome(study, plan, failures)
    return failures


def list_runs(path: str, options: StudyOptions) -> str:
    """Checks a study and all its configurations, and returns the list of runs; starts nothing."""
    study, plan = prepare(path, options)
    lines = [plan_table(plan)] if plan.variants else []
    if study.settings.search is not None:
        from segkit.study.search import search_text

        lines.append(search_text(study.settings.search))
    total = len(plan.runs)
    finished = sum(result(run) is not None for run in plan.runs)
    lines.append(f"{counted(total, 'run')} in {plan.output}, {finished} finished; all configurations are valid")
    return "\n\n".join(lines)


def write_tables(path: str, options: StudyOptions) -> None:
    """Writes tables, plots and report of the finished runs, and the ranking of trials."""
    study, plan = prepare(path, options)
    with lock_study(plan.output):
        setup_logging(plan.output)
        if plan.variants:
            write_outcome(study, plan, {})
        if study.settings.search is not None:
            from segkit.study.search import write_search_tables

            write_search_tables(study, plan)


def prepare(path: str, options: StudyOptions) -> tuple[StudyDescription, Plan]:
    """Reads and checks a study and all its configurations; starts nothing."""
    study = read_study(path)
    plan = plan_study(study, overrides=options.overrides, output=options.output, seeds=options.seeds)
    for name in options.only:
        if name not in plan.variants:
            raise SegkitError(f"--only: there is no run '{name}'{did_you_mean(name, plan.variants)}", value=name)
    if study.settings.search is not None:
        from segkit.study.search import check_search

        check_search(study, plan, options.overrides)
    return study, plan


def chosen_runs(plan: Plan, only: Sequence[str]) -> list[PlannedRun]:
    """The runs of some variants, and of those whose models they evaluate.

    If ``only`` is empty, the runs of all variants.
    """
    names = {*only, *(plan.variants[name].parent for name in only)}
    return [run for run in plan.runs if not only or run.variant in names]


def compared_metrics(study: StudyDescription, variant: str) -> list[str]:
    """The metrics that the evaluations of a variant must have.

    They are those of its tables; without a table, the study's.
    """
    tables = [table for table in study.tables.values() if any(row.run == variant for row in table.rows)]
    return list(dict.fromkeys(table.metric or study.settings.metric for table in tables)) or [study.settings.metric]


def make_executor(study: StudyDescription, plan: Plan, jobs: int | None = None) -> Executor:
    """Builds the file's executor.

    Raises:
        SegkitError: ``jobs`` for another executor than ``local``; an executor whose package is missing.
    """
    spec = study.settings.executor
    if jobs is not None:
        if spec["name"] != "local":
            raise SegkitError(f"--jobs is for the executor local; the study's is {spec['name']}", key="executor")
        spec = Spec({**spec, "jobs": jobs})
    executor: Executor = EXECUTORS.build(spec, path="executor", folder=plan.output)
    return executor


def executor_name(study: StudyDescription) -> str:
    """The name of the executor."""
    return str(study.settings.executor["name"])


def settle_changes(plan: Plan, runs: Sequence[PlannedRun], *, restart: bool) -> None:
    """Looks for runs that were started with another configuration.

    Args:
        plan: all runs of the study; evaluations of a model that is trained again are made again too.
        runs: those to run.
        restart: move their files to ``seed_S_previous_N``, so that they start again; else they are an error.
    Raises:
        SegkitError: there are such runs; the message names them and the first keys.
    """
    changed: list[tuple[PlannedRun, str]] = []
    for run in runs:
        found = changes(run)
        if found:
            keys = ", ".join(one.key for one in found[:3]) + (", ..." if len(found) > 3 else "")
            changed.append((run, keys))
    renewed = {run.folder for run, _ in changed}
    changed += [
        (run, "the run whose model it evaluates")
        for run in plan.runs
        if run.parent in renewed and run.folder not in renewed and started(run)
    ]
    if changed and not restart:
        listed = "\n".join(f"  {run.name}: {keys}" for run, keys in changed[:12])
        more = f"\n  and {len(changed) - 12} more" if len(changed) > 12 else ""
        raise SegkitError(
            f"{counted(len(changed), 'run')} in {plan.output} started with another configuration:\n{listed}{more}\n"
            "--restart-changed starts these again and keeps the others; or choose another folder with --output"
        )
    for run, _ in changed:
        if locked(lock_file(run.folder)):
            raise SegkitError(f"{run.name}: its process of an earlier study still runs; wait for its end, or end it")
    for run, keys in changed:
        aside = set_aside(run.folder)
        logger.warning(
            "%s: its configuration has changed (%s); it starts again, its files are in %s", run.name, keys, aside
        )


def set_aside(folder: Path) -> Path:
    """Moves a run's folder to ``previous_N`` beside it."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}_previous_{number}")).exists():
        number += 1
    shutil.move(folder, aside)
    return aside


def plan_table(plan: Plan) -> str:
    """The list of runs that ``--dry-run`` prints.

    Variants, what distinguishes them, seeds, length, state.
    """
    rows = []
    for name, variant in plan.variants.items():
        runs = plan.of_variant(name)
        if not runs:
            continue
        own = ", ".join(f"{key}={value}" for key, value in variant.own.items())
        length = f"evaluates {variant.parent}" if variant.parent else _length(runs[0])
        finished = sum(result(run) is not None for run in runs)
        begun = sum(started(run) and result(run) is None for run in runs)
        state = f"{finished} of {len(runs)} finished" + (f", {begun} begun" if begun else "")
        seeds = ", ".join(str(run.seed) for run in runs)
        rows.append((name, own[:70] + ("..." if len(own) > 70 else ""), seeds, length, state))
    return tabulate(rows, headers=["run", "overrides", "seeds", "length", "state"], disable_numparse=True)


def _length(run: PlannedRun) -> str:
    train = run.config.train
    limit = next((hook["minutes"] for hook in run.config.hooks if hook["name"] == "TimeLimit"), None)
    if limit is not None:
        return f"{limit:g} minutes"
    if train.iterations is not None:
        return counted(train.iterations, "iteration")
    return counted(train.epochs or 0, "epoch")
