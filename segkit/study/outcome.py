"""The result of a study: tables, plots and the report of its finished runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from segkit.study.image_differences import ImageComparer
from segkit.study.plan import Plan
from segkit.study.plots import plot_curves, plot_tables
from segkit.study.report import write_study_report
from segkit.study.state import result
from segkit.study.study_file import StudyDescription
from segkit.study.table_files import comma_separated, latex, markdown
from segkit.study.tables import make_tables
from segkit.utils.atomic import atomic_write
from segkit.utils.logging import failure_warned

logger = logging.getLogger(__name__)


def write_outcome(study: StudyDescription, plan: Plan, failures: Mapping[str, str]) -> list[Path]:
    """Writes ``study.md``, ``study.csv``, ``study.tex``, the plots and the report.

    All go into the study's folder.

    The tables depend on the results alone: the same runs make the same files. A plot or report that fails is a warning.

    Args:
        study: the file.
        plan: all its runs; those that are finished are shown.
        failures: what went wrong, by the run's name, for ``study.md``.
    Returns:
        The files.
    """
    found = {(run.variant, run.seed): result(run) for run in plan.runs}
    results = {key: one for key, one in found.items() if one is not None}
    tables = make_tables(study, plan, results, ImageComparer())
    files = []
    texts = {
        "study.md": markdown(Path(study.label).stem, tables, failures),
        "study.csv": comma_separated(tables),
        "study.tex": latex(tables),
    }
    for name, text in texts.items() if tables else ():
        with atomic_write(plan.output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        files.append(plan.output / name)
    if results:
        with failure_warned("the plots of the tables"):
            files += plot_tables(tables, plan.output / "tables")
        with failure_warned("the curves"):
            files += plot_curves(plan.runs, study.settings.metric, plan.output / "curves")
        with failure_warned("the report"):
            files += write_study_report([run for run in plan.runs if (run.variant, run.seed) in results], plan.output)
    logger.info(
        "%s", "\n".join(["the study's files:", *(f"  {path}" for path in files)]) if files else "no run is finished"
    )
    return files
