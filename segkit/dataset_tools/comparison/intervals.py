"""The table of metrics and intervals that ``segkit eval --intervals`` prints."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.config.schema import Config
from segkit.dataset_tools.comparison.tables import headline
from segkit.dataset_tools.source import open_data
from segkit.engine.finished_run import FinishedRun, evaluated_run, finished_run
from segkit.evaluation.bootstrap import bootstrap_intervals
from segkit.evaluation.overlaps import has_scipy
from segkit.evaluation.table import intervals_table

logger = logging.getLogger(__name__)


def run_intervals(cfg: Config) -> str:
    """Returns the table of the evaluation that was just written with this configuration."""
    run = evaluated_run(cfg)
    return _table(run, _cells_threshold(cfg.evaluators))


def results_intervals(
    results: str,
    data: str,
    *,
    format: str | None = None,
    split: str | None = None,
    evaluators: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Returns the table of a results file.

    Args:
        results, data, format, split, evaluators: as of
            :func:`~segkit.dataset_tools.evaluate_results.evaluate_results`.
    """
    opened = open_data(data, format)
    dataset = opened.split(split, data)
    run = finished_run(Path(results).stem, results, dataset, class_agnostic=opened.class_agnostic)
    return _table(run, _cells_threshold(evaluators or opened.evaluators or ()))


def _cells_threshold(evaluators: Sequence[Mapping[str, Any]]) -> float:
    """The score threshold of the evaluator Cells; its default without one."""
    return next((float(one.get("score_threshold", 0.5)) for one in evaluators if one["name"] == "Cells"), 0.5)


def _table(run: FinishedRun, cells_threshold: float) -> str:
    there = has_scipy()
    if not there:
        logger.warning("no metrics of cells: SciPy is missing; pip install 'segkit[cells]'")
    data = run.overlaps()
    intervals = bootstrap_intervals(data, cells_threshold=cells_threshold if there else None)
    kind = "masks" if data.iou_type == "segm" else "boxes"
    title = f"{kind}, 95 % intervals of 1,000 bootstrap resamples of {len(data.images)} images"
    note = "F1, precision and recall at the score of the best F1" + (
        f"; metrics of cells at score {cells_threshold:g}" if there and kind == "masks" else ""
    )
    table = intervals_table({name: intervals[name] for name in headline(list(intervals))})
    return f"\n{title}; {note}:\n\n{table}"
