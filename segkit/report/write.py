"""Writes the report of runs as one HTML file."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from segkit.engine.finished_run import FinishedRun
from segkit.report.analyse import analyse_runs
from segkit.report.analysis import ReportOptions, RunAnalysis
from segkit.report.cells import duration
from segkit.report.page import render
from segkit.report.sections import (
    comparison,
    curves,
    data,
    environment,
    errors,
    galleries,
    headline,
    labels,
    metrics,
    precision_recall,
    slices,
    speed,
)
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError
from segkit.utils.paths import output_file, prepare_folder

logger = logging.getLogger(__name__)


def write_report(
    runs: Sequence[FinishedRun], output: str | Path, options: ReportOptions | None = None, *, name: str = "--output"
) -> Path:
    """Writes the page of one run, or of several side by side.

    Args:
        runs: evaluated on the same images and classes; a results file counts as a run.
        output: the HTML file; it is replaced once the new one is complete.
        options: how much work goes into it; None: the defaults.
        name: of the argument ``output``, for errors.
    Returns:
        The path of the file.
    Raises:
        SegkitError: no runs, runs of different data, or a file that cannot be written.
    """
    options = options or ReportOptions()
    file = output_file(output, name)
    prepare_folder(file.parent, name)
    began = time.perf_counter()
    page = render_report(analyse_runs(runs, options), options, began)
    try:
        with atomic_write(file) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SegkitError(f"{name}: '{file}' cannot be written: {error.strerror or error}", value=str(file)) from error
    seconds = time.perf_counter() - began
    logger.info("%s: %.1f MB, made in %s", file, len(page.encode()) / 2**20, duration(seconds))
    return file


def render_report(runs: Sequence[RunAnalysis], options: ReportOptions, began: float | None = None) -> str:
    """The page of analysed runs.

    Args:
        runs: results of :func:`segkit.report.analyse.analyse_runs`.
        options: as for :func:`write_report`.
        began: when the work began, by ``time.perf_counter``; None: now.
    """
    began = time.perf_counter() if began is None else began
    pictures = galleries.section(runs, options)
    sections = [
        headline.section(runs, pictures.ids),
        *([comparison.section(runs, options)] if len(runs) > 1 else []),
        metrics.section(runs),
        errors.section(runs, pictures.ids),
        slices.section(runs),
        precision_recall.section(runs),
        labels.section(runs),
        curves.section(runs),
        speed.section(runs),
        data.section(runs, options),
        environment.section(runs),
        pictures.section,  # last, since it is long
    ]
    title = " and ".join(run.label for run in runs) if len(runs) < 4 else f"{len(runs)} runs"
    seconds = duration(time.perf_counter() - began)
    return render(title, runs, sections, styles=pictures.styles, scripts=pictures.scripts, seconds=seconds)
