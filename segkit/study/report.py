"""The report of a study: the runs of its first seed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segkit.engine.finished_run import open_finished_run
from segkit.engine.run_dir import REPORT
from segkit.report import write_report
from segkit.study.plan import PlannedRun


def write_study_report(runs: Sequence[PlannedRun], output: Path) -> list[Path]:
    """Writes ``report.html`` of the finished runs of the first seed that has any.

    Args:
        runs: the finished runs of all seeds.
        output: the study's folder.
    Returns:
        The file.
    Raises:
        SegkitError: a run's results cannot be read, or the runs were evaluated on different data.
    """
    shown = [run for run in runs if run.seed == runs[0].seed]
    opened = [replace(open_finished_run(run.folder), name=run.variant) for run in shown]
    return [write_report(opened, output / REPORT)]
