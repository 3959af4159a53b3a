"""Writes a study's tables as Markdown, CSV and LaTeX; all text from the file is escaped."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from segkit.study.statistics import LEVEL, Difference
from segkit.study.tables import Row, Table, signed
from segkit.utils.table_text import escape_csv, escape_latex, escape_markdown

HEADINGS = ("seeds", "{metric}", "{level} interval", "difference", "over seeds", "over images", "published")
COLUMNS = (
    "table", "run", "label", "metric", "seeds", "mean", "low", "high", "baseline", "difference", "difference_low",
    "difference_high", "images_low", "images_high", "published", "values",
)  # fmt: skip
NOTHING = "–"
NOTE = (
    "Intervals are of 95 %: those of a mean, and of a difference over seeds, are Student's t; those over images are a paired "
    "bootstrap, which draws seeds too if there are several. Differences are to the baseline, paired by seed, and are not "
    "corrected for the number of rows."
)


def markdown(title: str, tables: Sequence[Table], failures: Mapping[str, str]) -> str:
    """All tables, what they show, and what failed."""
    parts = [f"# {escape_markdown(title)}"]
    for table in tables:
        parts.append(f"## {escape_markdown(table.title)}")
        head = [escape_markdown(table.title), *_headings(table, escape_markdown)]
        lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
        lines += [f"| {' | '.join([escape_markdown(row.label), *_cells(row)])} |" for row in table.rows]
        parts.append("\n".join(lines))
        sentences = [row.sentence for row in table.rows if row.sentence] + list(table.notes)
        if sentences:
            parts.append("\n".join(f"- {escape_markdown(text)}" for text in sentences))
    if tables:
        parts.append(NOTE)
    if failures:
        parts.append("## Failed runs")
        parts.append("\n".join(f"- {escape_markdown(f'{name}: {reason}')}" for name, reason in failures.items()))
    return "\n\n".join(parts) + "\n"


def comma_separated(tables: Sequence[Table]) -> str:
    """One line for each row of each table, in full precision.

    ``values`` has one metric for each seed.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for table in tables:
        for row in table.rows:
            interval, difference = row.interval, row.difference
            cells = [
                escape_csv(table.name), escape_csv(row.run), escape_csv(row.label), escape_csv(table.metric), len(row.values),
                row.mean, interval and interval.low, interval and interval.high, escape_csv(table.baseline),
                difference and difference.value, difference and difference.low, difference and difference.high,
                row.over_images and row.over_images.low, row.over_images and row.over_images.high, row.published,
                " ".join(f"{seed}:{value!r}" for seed, value in row.values.items()),
            ]  # fmt: skip
            writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def latex(tables: Sequence[Table]) -> str:
    """A ``table`` environment for each table; needs no package."""
    parts = []
    for table in tables:
        head = [escape_latex(table.title), *_headings(table, escape_latex)]
        lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\hline"]
        lines += [" & ".join(head) + r" \\", r"\hline"]
        lines += [" & ".join([escape_latex(row.label), *map(escape_latex, _cells(row))]) + r" \\" for row in table.rows]
        lines += [r"\hline", r"\end{tabular}"]
        sentences = " ".join([table.title + ".", *(row.sentence for row in table.rows if row.sentence), *table.notes])
        name = re.sub(r"[^A-Za-z0-9-]", "-", table.name)
        lines += [rf"\caption{{{escape_latex(sentences)}}}", rf"\label{{tab:{name}}}", r"\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _headings(table: Table, escape: Callable[[str], str]) -> list[str]:
    level = f"{100 * LEVEL:g} %"
    return [escape(text.format(metric=table.metric, level=level)) for text in HEADINGS]


def _cells(row: Row) -> list[str]:
    """The cells after the label; an en dash where there is nothing."""
    difference = row.difference
    cells = [
        str(len(row.values)) if len(row.values) == row.planned else f"{len(row.values)} of {row.planned}",
        "" if row.mean is None else f"{row.mean:.3f}",
        "" if row.interval is None else f"{row.interval.low:.3f} to {row.interval.high:.3f}",
        "" if difference is None else signed(difference.value),
        *(_ends(one) for one in (difference, row.over_images)),
        "" if row.published is None else _published(row.published),
    ]
    return [cell or NOTHING for cell in cells]


def _published(value: float) -> str:
    """With the digits that it was given, two at least."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


def _ends(difference: Difference | None) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return ""
    return f"{signed(difference.low)} to {signed(difference.high)}"
