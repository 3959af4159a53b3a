"""Plots of a data set's statistics, as PNG and SVG."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from segkit.dataset_tools.stats.measure import DatasetStats
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 20
BINS = 40
FEWEST_ROWS = 6  # of the bars of classes
FEW_TICKS = 10  # ratio of a logarithmic axis' ends up to which each of 1, 1.5, 2, 3, ... has a tick
COLOR = "#3465a4"
SUFFIXES = (".png", ".svg")
TITLE: dict[str, Any] = {"fontsize": 10, "parse_math": False}  # a class may have any name, with $ too


def write_plots(stats: DatasetStats, folder: Path, name: str) -> list[Path]:
    """Draws all statistics into one picture, ``FOLDER/NAME.png`` and ``.svg``.

    Raises:
        SegkitError: the folder cannot be written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    objects = stats.objects
    # The object API, since pyplot keeps figures in a global list and may look for a display.
    figure = Figure(figsize=(13.2, 9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = iter(figure.subplots(3, 3).flat)
    _histogram(next(panels), objects.side, "sides of boxes, px", log=True)
    _histogram(next(panels), objects.diameter[objects.masked], "equivalent diameters of masks, px", log=True)
    _histogram(next(panels), objects.aspect, "height / width of boxes", log=True)
    _histogram(next(panels), stats.counts, "objects an image")
    _sizes(next(panels), stats.sizes)
    _bars(next(panels), stats)
    _scatter(next(panels), stats)
    _histogram(next(panels), objects.box_iou[objects.box_iou > 0], "largest IoU with another box, if above 0")
    _intensities(next(panels), stats)
    figure.suptitle(f"{stats.images:,} images, {len(objects):,} objects measured", fontsize=11)
    paths = [folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}{suffix}" for suffix in SUFFIXES]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.execute(figure)
        figure.set_layout_engine("none")  # once for both formats
        for path in paths:
            figure.savefig(path)
    except OSError as error:
        raise SegkitError(f"--plots {folder}: cannot be written: {error.strerror}", value=str(folder)) from error
    return paths


def _histogram(axes: Axes, values: np.ndarray, title: str, *, log: bool = False) -> None:
    """A histogram; with ``log`` of positive values on a logarithmic scale."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, **TITLE)
    axes.tick_params(labelsize=8)
    if not len(values):
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        return
    low, high = float(values.min()), float(values.max())
    if log and low > 0 and high > low:
        axes.hist(values, np.geomspace(low, high, BINS + 1).tolist(), color=COLOR)
        _log_scale(axes, "x", high / low)
    elif values.dtype.kind == "i" and high - low < BINS:
        axes.hist(values, (np.arange(low, high + 2) - 0.5).tolist(), color=COLOR, rwidth=0.8)  # a bar for each number
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.hist(values, BINS, color=COLOR)
    middle = float(np.median(values))
    axes.axvline(middle, color="black", linewidth=1, linestyle="--", label=f"median {middle:.3g}")
    axes.legend(fontsize=8)


def _log_scale(axes: Axes, axis: Literal["x", "y"], ratio: float) -> None:
    """Makes an axis logarithmic, with plain numbers at its ticks.

    Args:
        axes: the panel.
        axis: which axis.
        ratio: of the largest to the smallest value, which says how many ticks there are.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    axes.set(**{f"{axis}scale": "log"})
    found = axes.xaxis if axis == "x" else axes.yaxis
    found.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio > FEW_TICKS else (1, 1.5, *range(2, 10)), numticks=20))
    found.set_major_formatter(StrMethodFormatter("{x:g}"))
    found.set_minor_locator(NullLocator())
    found.set_minor_formatter(NullFormatter())


def _sizes(axes: Axes, sizes: np.ndarray) -> None:
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    axes.scatter(found[:, 1], found[:, 0], s=10 + 200 * counts / counts.max(), color=COLOR, alpha=0.6)
    axes.set_title("sizes of images: width and height, px", **TITLE)
    height, width = sizes.max(0).tolist()
    axes.set_xlim(0, 1.1 * width)
    axes.set_ylim(0, 1.1 * height)
    axes.tick_params(labelsize=8)


def _bars(axes: Axes, stats: DatasetStats) -> None:
    counts = stats.class_objects
    order = np.argsort(-counts, kind="stable")[:MOST_BARS]
    axes.barh(range(len(order)), counts[order], color=COLOR)
    axes.set_yticks(range(len(order)), [stats.classes[k][:24] for k in order], fontsize=7, parse_math=False)
    axes.set_ylim(max(len(order), FEWEST_ROWS) - 0.5, -0.5)  # the first class on top; few bars stay thin
    more = f" (the first {len(order)} of {len(counts)})" if len(counts) > len(order) else ""
    axes.set_title(f"objects of each class{more}", **TITLE)
    axes.tick_params(axis="x", labelsize=8)


def _scatter(axes: Axes, stats: DatasetStats) -> None:
    """Width and height of the boxes, on logarithmic scales."""
    objects = stats.objects
    axes.set_title("widths and heights of boxes, px", **TITLE)
    axes.tick_params(labelsize=8)
    if len(objects):
        step = max(1, len(objects) // 5000)
        axes.scatter(objects.width[::step], objects.height[::step], s=2, alpha=0.3, color=COLOR, rasterized=True)
        _log_scale(axes, "x", float(objects.width.max() / objects.width.min()))
        _log_scale(axes, "y", float(objects.height.max() / objects.height.min()))


def _intensities(axes: Axes, stats: DatasetStats) -> None:
    """Percentiles of each channel."""
    looks = stats.intensities
    axes.set_title("intensities by channel: 1 to 99 %, quartiles, median", **TITLE)
    axes.tick_params(labelsize=8)
    for k, row in enumerate(looks.percentiles):
        low, quarter, half, three, high = row[2:7]
        axes.vlines(k, low, high, color=COLOR, linewidth=1)
        axes.vlines(k, quarter, three, color=COLOR, linewidth=8)
        axes.plot([k], [half], "o", color="white", markersize=4)
    axes.set_xticks(range(len(looks.percentiles)))
    axes.set_xlim(-0.7, max(len(looks.percentiles) - 0.3, 0.7))
