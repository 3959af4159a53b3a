"""The curves of a run, drawn from its metrics file as one picture with several panels."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.visualization.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

LOSS = "loss/"
VALIDATION_LOSS = "val/loss/"
VALIDATION = ("AP", "AP50", "AP75")
COLUMNS = 3
TITLE: dict[str, Any] = {"fontsize": 10, "parse_math": False}  # a loss may have any name, with $ too
SMOOTHED_FROM = 12  # points; smoothing fewer would hide them


def plot_curves(
    metrics_file: str | os.PathLike[str], output: str | os.PathLike[str], *more: str | os.PathLike[str]
) -> Path:
    """Draws training and validation losses, the learning rate and the validation AP.

    Args:
        metrics_file: one JSON object per line, with ``iteration``; in a resumed run later lines replace earlier ones.
        output: the picture; its suffix selects the format.
        more: further files of the same picture, as ``curves.svg``.
    Returns:
        ``output``.
    Raises:
        SegkitError: the file does not exist, has nothing to plot, or has a line that is not JSON (a last line that is cut
            short is skipped).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_metrics(metrics_file)
    keys = list(dict.fromkeys(key for record in records for key in record))
    losses = {key.removeprefix("val/") for key in keys if key.startswith((LOSS, VALIDATION_LOSS))}
    kinds = [kind for kind in ("segm", "bbox") if any(f"{kind}/{name}" in keys for name in VALIDATION)]
    panels: list[tuple[str, list[str]]] = [
        (loss, [key for key in (loss, f"val/{loss}") if key in keys])
        for loss in sorted(losses, key=lambda loss: (loss != "loss/total", loss))
    ]
    panels += [("learning rate", ["lr"])] if "lr" in keys else []
    panels += [(f"validation {kind}", [f"{kind}/{n}" for n in VALIDATION if f"{kind}/{n}" in keys]) for kind in kinds]
    if not panels:
        raise SegkitError(f"{metrics_file} holds no losses, learning rates or APs to plot", value=str(metrics_file))
    rows, columns = math.ceil(len(panels) / COLUMNS), min(COLUMNS, len(panels))
    # The object API, since pyplot keeps figures in a global list and may look for a display.
    figure = Figure(figsize=(4.4 * columns, 3.0 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, names) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, index)
        axes.set_xlim(0, 1.02 * max(records[-1]["iteration"], 1))  # the same in all panels, even with few points
        _panel(axes, title, {name: _series(records, name) for name in names})
    paths = [Path(path) for path in (output, *more)]
    for path in paths:
        save_figure(figure, path)
        figure.set_layout_engine("none")  # the layout of the first file serves the others
    return paths[0]


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the records of a metrics file, by ascending iteration.

    A resumed run has written some iterations twice: the later lines replace the earlier ones.
    """
    file = Path(path)
    if not file.is_file():
        raise SegkitError(f"there is no metrics file {file}", value=str(path))
    lines = file.read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("iteration"), int):
                raise ValueError("no object with an iteration")
        except ValueError as error:
            if number == len(lines):
                logger.warning("%s: the last line is cut short and skipped", file)
                break
            raise SegkitError(f"{file}, line {number}: {error}", value=line[:80]) from error
        while records and records[-1]["iteration"] > record["iteration"]:
            records.pop()
        records.append(record)
    return records


def smoothed(values: np.ndarray) -> np.ndarray:
    """Returns the centred running mean over about a twelfth of the points; NaNs do not count."""
    half = max(1, len(values) // 24)
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[high] - sums[low]) / (counts[high] - counts[low])


def _series(records: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns iterations [N] and values [N] of one key; a null becomes NaN."""
    points = [(r["iteration"], r[key] if r[key] is not None else math.nan) for r in records if key in r]
    return np.array([p[0] for p in points]), np.array([p[1] for p in points], dtype=float)


def _panel(axes: Axes, title: str, series: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    validation = title.startswith("validation")
    for name, (iterations, values) in series.items():
        if name.startswith(VALIDATION_LOSS):
            axes.plot(
                iterations, values, color="tab:orange", marker="o", markersize=3, linewidth=1.4, label="validation"
            )
            axes.legend(fontsize=8, loc="best")
            continue
        if title.startswith(LOSS) and len(values) >= SMOOTHED_FROM:
            axes.plot(iterations, values, color="tab:blue", alpha=0.3, linewidth=0.8)
            axes.plot(iterations, smoothed(values), color="tab:blue", linewidth=1.6)
            last = np.flatnonzero(np.isfinite(values))
            axes.set_title(f"{title} ({smoothed(values)[last[-1]]:.3g})" if len(last) else title, **TITLE)
            continue
        marker = "o" if validation or len(values) < SMOOTHED_FROM else None
        label = name.split("/", 1)[1] if validation else None
        if validation and len(values):
            label = f"{label} {100 * values[-1]:.1f}"
        axes.plot(iterations, values, marker=marker, markersize=3, linewidth=1.4, label=label)
    if not axes.get_title():
        axes.set_title(title, **TITLE)
    axes.set_xlabel("iteration", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if validation:
        axes.set_ylim(0, 1)
        axes.legend(fontsize=8, loc="best")
    elif title == "learning rate":
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
