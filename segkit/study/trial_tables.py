"""The ranking of a search's trials, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.engine.hooks.evaluation import to_score
from segkit.study.state import last_evaluation
from segkit.utils.atomic import atomic_write
from segkit.utils.table_text import escape_csv, escape_markdown

logger = logging.getLogger(__name__)
TRIALS = "trials"  # the folder of the trials' runs


def write_trials(optuna_study: Any, output: Path, metric: str, keys: Sequence[str]) -> None:
    """Writes the trials, best first: ``search.md`` and ``search.csv``.

    Args:
        optuna_study: Optuna's study.
        output: the study's folder.
        metric: what the trials report.
        keys: of the search space.
    """

    def rank(one: Any) -> float:  # complete trials by their value, then the others
        return -to_score(metric, one.value) if one.state.name == "COMPLETE" else math.inf

    trials = sorted(optuna_study.get_trials(deepcopy=False), key=lambda one: (rank(one), one.number))
    head = ["trial", "state", metric, "iterations", *keys]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([escape_csv(cell) for cell in head])
    lines = ["# Search", "", f"| {' | '.join(map(escape_markdown, head))} |", f"|{' --- |' * len(head)}"]
    for one in trials:
        value = one.value if one.value is not None else max(one.intermediate_values.items(), default=(0, None))[1]
        value = None if value is None or math.isnan(value) else value
        reached = last_evaluation(output / TRIALS / f"trial_{one.number:04}")
        params = [str(one.params.get(key, "")) for key in keys]
        iterations = reached.iteration if reached else 0
        writer.writerow([one.number, one.state.name.lower(), value, iterations, *map(escape_csv, params)])
        cells = [str(one.number), one.state.name.lower(), _short(value), str(iterations)]
        cells += [escape_markdown(_short(one.params.get(key))) for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    for name, content in (("search.md", "\n".join(lines) + "\n"), ("search.csv", text.getvalue())):
        with atomic_write(output / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    logger.info("the trials are in %s", output / "search.md")


def _short(value: Any) -> str:
    """A value for the eye: a float with four digits."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.4f}" if 0.1 <= abs(value) < 1e4 else f"{value:.4g}"
