"""The report at the end of a training."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from segkit.config.loader import load_config
from segkit.engine.finished_run import open_finished_run
from segkit.engine.run_dir import REPORT
from segkit.evaluation.coco import RESULTS_NAME
from segkit.report.analysis import ReportOptions
from segkit.report.cells import duration
from segkit.report.write import write_report
from segkit.utils.logging import failure_warned
from segkit.utils.paths import output_folder

logger = logging.getLogger(__name__)
# Bounded, since a training is not waited for any longer than needed; segkit report makes a larger one.
OPTIONS = ReportOptions(images=8, resamples=300, checked_images=500, measured_images=200)


def report_after_training(run_dir: str | os.PathLike[str]) -> Path | None:
    """Writes ``report.html`` in the folder of a finished training.

    A report that cannot be made is a warning: the training has succeeded. Nothing is written if the configuration says
    ``train.report: false``, without validation data or evaluation results, if there
    is a report of the same results already, or in another process than the first.

    Args:
        run_dir: with ``config.yaml`` and ``inference/``.
    Returns:
        the path of the report; None without one.
    """
    if os.environ.get("RANK", "0") != "0":
        return None
    folder = output_folder(os.fspath(run_dir), "output_dir")
    written = None
    with failure_warned(REPORT):
        config = load_config(folder / "config.yaml")
        results, report = folder / "inference" / RESULTS_NAME, folder / REPORT
        if not config.train.report or config.data.val is None or not results.is_file():
            return None
        if report.is_file() and report.stat().st_mtime > results.stat().st_mtime:
            return report  # a finished run was resumed, and nothing has changed
        began = time.perf_counter()
        written = write_report([open_finished_run(folder)], report, OPTIONS)
        logger.info("report %s, made in %s", written, duration(time.perf_counter() - began))
    return written
