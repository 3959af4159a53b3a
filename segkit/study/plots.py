"""Plots of a study: its tables with their intervals, and the curves of all runs together."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.engine.checkpoint import METRICS
from segkit.study.plan import PlannedRun
from segkit.study.tables import Table
from segkit.visualization.curves import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
PLAIN: dict[str, Any] = {"fontsize": 9, "parse_math": False}  # labels are the user's, with $ too
OURS, PUBLISHED = "#1f5fa8", "#c2571a"
STYLES = ("-", "--", "-.", ":")
LOSS = "loss/total"
LABEL_WIDTH = 32  # characters in a line


def plot_tables(tables: Sequence[Table], output: Path) -> list[Path]:
    """Draws each table.

    Means with their intervals, each seed's value, and the published figures. Tables of one metric have the same axis.

    Args:
        tables: those without a finished run are skipped.
        output: path without a suffix; a PNG and an SVG are written.
    Returns:
        The files; empty if there is nothing to draw.
    """
    shown = [table for table in tables if any(row.values or row.published is not None for row in table.rows)]
    if not any(row.values for table in shown for row in table.rows):
        return []
    rows = sum(len(table.rows) for table in shown)
    figure = _figure(7.5, 0.9 + 1.0 * len(shown) + 0.32 * rows)
    heights = [len(table.rows) + 1.5 for table in shown]
    first: dict[str, Axes] = {}  # panel of each metric
    for axes, table in zip(
        figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0], shown, strict=True
    ):
        if table.metric in first:  # before anything is drawn: the limits are then those of all
            axes.sharex(first[table.metric])
        first.setdefault(table.metric, axes)
        _draw_table(axes, table)
    published = any(row.published is not None for table in shown for row in table.rows)
    figure.legend(handles=_handles(published), fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return _save(figure, output)


def _handles(published: bool) -> list[Any]:
    """The lines of the legend."""
    from matplotlib.lines import Line2D

    found = [
        Line2D([], [], marker="o", color=OURS, label="mean and interval over seeds"),
        Line2D([], [], marker="|", color=OURS, linestyle="none", markersize=9, label="one seed"),
    ]
    if published:
        style: dict[str, Any] = {"markerfacecolor": "none", "color": PUBLISHED, "linestyle": "none"}
        found.append(Line2D([], [], marker="D", label="published", **style))
    return found


def _draw_table(axes: Axes, table: Table) -> None:
    for place, row in enumerate(table.rows):
        if row.values:
            axes.plot(list(row.values.values()), [place] * len(row.values), "|", color=OURS, markersize=9, alpha=0.6)
            axes.plot([row.mean or 0.0], [place], "o", color=OURS, markersize=6)
        if row.interval is not None:
            axes.plot([row.interval.low, row.interval.high], [place, place], "-", color=OURS, linewidth=2, alpha=0.8)
        if row.published is not None:
            axes.plot([row.published], [place], "D", markerfacecolor="none", color=PUBLISHED, markersize=7)
    axes.set_yticks(range(len(table.rows)))
    axes.set_yticklabels([textwrap.fill(row.label, LABEL_WIDTH) for row in table.rows], **PLAIN)
    axes.set_ylim(len(table.rows) - 0.4, -0.6)
    axes.set_title(table.title, loc="left", **PLAIN)
    axes.set_xlabel(table.metric, **PLAIN)
    axes.grid(axis="x", alpha=0.3)


def plot_curves(runs: Sequence[PlannedRun], metric: str, output: Path) -> list[Path]:
    """Draws the training loss and the metric of all runs over the iterations.

    A colour a variant, a style a seed.

    Args:
        runs: those without a line of metrics, and evaluations without a training, are skipped.
        metric: of the second panel.
        output: path without a suffix; a PNG and an SVG are written.
    Returns:
        The files; empty if there is nothing to draw.
    """
    records = {}
    for run in runs:
        path = run.folder / METRICS
        found = read_metrics(path) if run.parent is None and path.is_file() else []
        if found:
            records[run.variant, run.seed] = found
    if not records:
        return []
    variants = list(dict.fromkeys(variant for variant, _ in records))
    seeds = list(dict.fromkeys(seed for _, seed in records))
    figure = _figure(11, 4.2 + 0.16 * max(0, len(variants) - 12))
    loss, score = figure.subplots(1, 2)
    for (variant, seed), lines in records.items():
        colour = _colour(variants.index(variant), len(variants))
        style = STYLES[seeds.index(seed) % len(STYLES)]
        for axes, key in ((loss, LOSS), (score, metric)):
            points = [(line["iteration"], line[key]) for line in lines if line.get(key) is not None]
            marker = "o" if len(points) < 15 else ""
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, style, color=colour, marker=marker, markersize=3, linewidth=1.2)
    for axes, title in ((loss, f"training {LOSS}"), (score, f"validation {metric}")):
        axes.set_title(title, **PLAIN)
        axes.set_xlabel("iteration", **PLAIN)
        axes.grid(alpha=0.3)
    handles = [loss.plot([], [], color=_colour(i, len(variants)), label=name)[0] for i, name in enumerate(variants)]
    handles += [
        loss.plot([], [], STYLES[i % len(STYLES)], color="gray", label=f"seed {seed}")[0]
        for i, seed in enumerate(seeds if len(seeds) > 1 else [])
    ]
    legend = figure.legend(handles=handles, fontsize=8, loc="outside right upper", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _save(figure, output)


def _colour(index: int, count: int) -> Any:
    import matplotlib

    return matplotlib.colormaps["tab10" if count <= 10 else "tab20" if count <= 20 else "turbo"](
        index if count <= 20 else index / (count - 1)
    )


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The object API, since pyplot keeps figures in a global list and may look for a display.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, output: Path) -> list[Path]:
    files = []
    for suffix in SUFFIXES:
        path = output.with_name(output.name + suffix)
        temporary = path.with_name(f".{path.stem}.tmp{suffix}")
        metadata: dict[str, Any] = {"Date": None} if suffix == ".svg" else {}  # the same tables make the same file
        figure.savefig(temporary, metadata=metadata)
        os.replace(temporary, path)
        files.append(path)
    return files
