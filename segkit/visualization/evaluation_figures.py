"""Figures of an evaluation: precision-recall, F1 by score, calibration, confusion; as PNG and SVG files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.visualization.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
SIZE = (5.6, 4.2)  # inches
DPI = 110
TEXT: dict[str, Any] = {"parse_math": False}  # a class may have any name, with $ too
MOST_CURVES = 10  # of classes; more would not be told apart
MOST_COUNTED = 20  # classes of a confusion matrix whose counts are written into the cells
LONGEST_NAME = 24


def draw_evaluation_figures(content: Mapping[str, Any], folder: str | os.PathLike[str]) -> list[Path]:
    """Draws all figures of a ``precision_recall.json``, whose content the evaluator PrecisionRecall writes.

    Args:
        content: of the file.
        folder: where ``precision_recall``, ``f1``, ``calibration`` and ``confusion`` are written, each as ``.png`` and as
            ``.svg``.
    Returns:
        The paths of the files.
    """
    folder, curves, kind = Path(folder), content["curves"], content["iou_type"]
    measured = content["precision_at_recalls"]
    precision = {name: _numbers(rows) for name, rows in measured["by_class"].items()}
    written = plot_precision_recall(
        measured["recalls"], measured["iou_thresholds"], precision, folder / "precision_recall"
    )
    title = f"F1 by score threshold ({kind}, IoU {content['iou_threshold']:g})"
    written += plot_f1(curves, folder / "f1", title=title, chosen_by=content["metric"])
    written += plot_calibration(content["calibration"], folder / "calibration")
    confusion = content["confusion"]
    title = f"Confusion at score {confusion['score_threshold']:.3g} (IoU {content['iou_threshold']:g})"
    written += plot_confusion(confusion["counts"], content["classes"], folder / "confusion", title=title)
    return written


def plot_precision_recall(
    recalls: Sequence[float],
    iou_thresholds: Sequence[float],
    precision: Mapping[str, np.ndarray],
    output: str | os.PathLike[str],
) -> list[Path]:
    """Draws interpolated precision against recall: the mean over classes, one curve an IoU threshold.

    Args:
        recalls: R.
        iou_thresholds: T.
        precision: float [T, R] of each class; NaN without objects.
        output: path without suffix; a PNG and an SVG file are written.
    """
    figure, axes = _figure("Precision and recall, mean over classes")
    known = [values for values in precision.values() if not np.isnan(values).all()]
    if known:
        mean = np.nanmean(np.stack(known), axis=0)
        for t, iou in enumerate(iou_thresholds):
            color = _sequential(t / max(len(iou_thresholds) - 1, 1))
            label = f"IoU {iou:.2f}, AP {100 * mean[t].mean():.1f}"
            axes.plot(recalls, mean[t], color=color, linewidth=1.5, label=label)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        _say(axes, "no objects")
    _unit_axes(axes, "recall", "precision")
    return _save(figure, output)


def plot_f1(
    curves: Sequence[Mapping[str, Any]], output: str | os.PathLike[str], *, title: str, chosen_by: str = "F1"
) -> list[Path]:
    """Draws F1 against the score threshold, of all classes and of each of the first ten; a dot is the best threshold.

    The curve of all classes has precision and recall beside it.

    Args:
        curves: ``name``, ``thresholds``, ``f1``, ``precision``, ``recall`` and ``best_threshold`` (or None) of each, all
            classes first. One of a single class beside it is not drawn twice.
        output: path without suffix; a PNG and an SVG file are written.
        title: of the figure.
        chosen_by: the metric by which the best thresholds were chosen.
    """
    figure, axes = _figure(title)
    of_all, of_classes = curves[0], curves[1 : 1 + MOST_CURVES] if len(curves) > 2 else []
    for curve in of_classes:
        _f1_curve(axes, curve, linewidth=1.0, alpha=0.8)
    if len(of_all["thresholds"]):
        for name, style in (("precision", ":"), ("recall", "--")):
            thresholds, values = of_all["thresholds"], of_all[name]
            axes.plot(thresholds, values, color="0.4", linestyle=style, linewidth=1.0, label=name)
        _f1_curve(axes, of_all, linewidth=2.2, color="black")
        if len(curves) - 1 > MOST_CURVES:
            axes.plot([], [], " ", label=f"{len(curves) - 1 - MOST_CURVES} more classes")
        dots = "best" if chosen_by == "F1" else f"best {chosen_by}"
        axes.plot([], [], "o", color="0.4", markersize=4, label=f"{dots} threshold")
        legend = axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for text in legend.get_texts():
            text.set_parse_math(False)
    else:
        _say(axes, "no detections")
    _unit_axes(axes, "score threshold", "F1, precision, recall")
    return _save(figure, output)


def _f1_curve(axes: Axes, curve: Mapping[str, Any], **style: Any) -> None:
    best = curve["best_threshold"]
    label = _short("all classes" if curve["name"] == "all" else curve["name"])
    [line] = axes.plot(
        curve["thresholds"], curve["f1"], label=label + ("" if best is None else f" ({best:.2f})"), **style
    )
    if best is not None:
        position = int(np.argmin(np.abs(np.asarray(curve["thresholds"]) - best)))
        axes.plot(best, curve["f1"][position], "o", color=line.get_color(), markersize=4)


def plot_calibration(calibration: Mapping[str, Any], output: str | os.PathLike[str]) -> list[Path]:
    """Draws the share of right detections in bins of their score, beside the diagonal of a calibrated model.

    Args:
        calibration: ``edges`` [B + 1], ``counts`` [B], ``scores``, ``precision`` [B] (None in an empty bin) and ``error``.
        output: path without suffix; a PNG and an SVG file are written.
    """
    error = calibration["error"]
    figure, axes = _figure("Calibration" if error is None else f"Calibration, expected error {100 * error:.1f} %")
    edges, counts = np.asarray(calibration["edges"]), np.asarray(calibration["counts"])
    precision, scores = _numbers(calibration["precision"]), _numbers(calibration["scores"])
    filled = counts > 0
    if filled.any():
        widths = np.diff(edges)
        axes.bar(
            edges[:-1][filled], precision[filled], widths[filled], align="edge", color="#9ecae1", edgecolor="white"
        )
        axes.plot(scores[filled], precision[filled], "o-", color="#08519c", markersize=4, linewidth=1.2, label="model")
        axes.plot([0, 1], [0, 1], "--", color="0.4", linewidth=1.0, label="calibrated")
        share = axes.twinx()
        share.step(
            np.append(edges[:-1], edges[-1]),
            np.append(counts, counts[-1]),
            where="post",
            color="#d94801",
            linewidth=1.0,
        )
        share.set_ylabel("detections", fontsize=8, color="#d94801")
        share.set_ylim(bottom=0)
        share.tick_params(labelsize=8, colors="#d94801")
        axes.legend(fontsize=7, loc="upper left")
    else:
        _say(axes, "no detections")
    _unit_axes(axes, "score", "share of right detections")
    return _save(figure, output)


def plot_confusion(
    counts: Sequence[Sequence[int]] | np.ndarray,
    classes: Sequence[str],
    output: str | os.PathLike[str],
    *,
    title: str = "Confusion",
) -> list[Path]:
    """Draws a confusion matrix: each row's colours are its shares, and the numbers are counts.

    Args:
        counts: int [K + 1, K + 1]; rows are objects, columns detections, the last ones the background.
        classes: K names.
        output: path without suffix; a PNG and an SVG file are written.
        title: of the figure.
    """
    matrix = np.asarray(counts, np.int64)
    names = [_short(name) for name in classes] + ["background"]
    side = min(max(4.2, 0.42 * len(names) + 2.2), 24.0)
    figure, axes = _figure(title, (side + 0.8, side))
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the row")
    size = 8 if len(names) <= MOST_COUNTED else 6
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=size, **TEXT)
    axes.set_yticks(range(len(names)), names, fontsize=size, **TEXT)
    axes.set_xlabel("detected as", fontsize=9)
    axes.set_ylabel("annotated as", fontsize=9)
    for i, j in np.argwhere(matrix > 0).tolist() if len(names) <= MOST_COUNTED + 1 else ():
        color = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=size, color=color)
    return _save(figure, output)


def _figure(title: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The object API, since pyplot keeps figures in a global list and may look for a display.
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, **TEXT)
    return figure, axes


def _unit_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", color="0.4")


def _sequential(share: float) -> Any:
    """A colour of a scale from light to dark."""
    from matplotlib import colormaps

    return colormaps["viridis_r"](0.1 + 0.9 * share)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _numbers(values: Any) -> np.ndarray:
    """An array of plain values, with NaN in place of None."""
    return np.array(values, dtype=np.float64)


def _save(figure: Figure, output: str | os.PathLike[str]) -> list[Path]:
    paths = [Path(output).with_name(Path(output).name + suffix) for suffix in SUFFIXES]
    for path in paths:
        save_figure(figure, path)
        figure.set_layout_engine("none")  # the layout of the first file serves the others, in half of the time
    return paths
