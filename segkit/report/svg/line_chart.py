"""Lines over a common axis, with a readout of the values under the pointer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from segkit.report.svg.elements import element, figure, ink, number, shortened, text
from segkit.report.svg.scales import Scale, linear_scale, tick_text

WIDTH, HEIGHT = 380.0, 236.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 8.0, 38.0
FEW = 16  # points up to which each has a dot


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        name: in the legend and the readout; empty: neither, as for the raw values behind a smoothed line.
        x, y: float [N], x ascending; a NaN interrupts the line.
        color: index of the page's colours.
        css: more classes, as ``r0`` of a run and ``raw``.
        dashed: whether it is dashed.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    color: int = 0
    css: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Mark:
    """A labelled point of a chart, as the best threshold."""

    x: float
    y: float
    label: str
    color: int = 0
    css: str = ""


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float | None, float | None] = (None, None),
    marks: Sequence[Mark] = (),
    legend: bool = True,
    empty: str = "no values",
) -> Markup:
    """Draws lines over one axis.

    Args:
        title: caption.
        lines: those without finite values are skipped.
        x_label, y_label: names of the axes.
        x_range: ends of the x axis; None: of the values.
        y_range: fixed ends of the y axis; None: of the values, rounded.
        marks: points.
        legend: whether names are listed under the chart, if there are several.
        empty: what is said without any values.
    """
    drawn = [line for line in lines if len(line.x) and np.isfinite(line.y).any()]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    if not drawn:
        words = [text(WIDTH / 2, HEIGHT / 2, empty, class_="none", text_anchor="middle")]
        return figure(title, empty, (WIDTH, HEIGHT), words, class_="lines")
    xs = np.concatenate([line.x for line in drawn]).astype(np.float64)
    ys = np.concatenate([line.y for line in drawn]).astype(np.float64)
    low, high = x_range or (float(xs.min()), float(xs.max()))
    x = Scale(low, high if high > low else low + 1, LEFT, right)
    y = linear_scale(ys, bottom, TOP, *y_range)
    children = [*_axes(x, y, x_label, y_label)]
    children += [_path(line, x, y) for line in drawn]
    for mark in marks:
        if x.low <= mark.x <= x.high:
            children += _mark(mark, x, y)
    named = [line for line in drawn if line.name]
    after = [_legend(named)] if legend and len(named) > 1 else []
    names = ", ".join(dict.fromkeys(line.name for line in named))
    ends = "; ".join(f"{line.name or title} ends at {_last(line.y):.4g}" for line in (named or drawn)[:8])
    description = f"Line chart of {names or title} over {x_label}: {ends}."
    attributes = {"data_x": x.attribute, "data_y": y.attribute, "data_label": x_label, "tabindex": 0}
    return figure(title, description, (WIDTH, HEIGHT), children, *after, class_="lines", **attributes)


def _axes(x: Scale, y: Scale, x_label: str, y_label: str) -> list[Markup]:
    found = []
    for value in y.ticks(5):
        at = float(y(value))
        found.append(element("line", x1=LEFT, x2=x.end, y1=at, y2=at, class_="grid"))
        found.append(text(LEFT - 6, at + 3.5, tick_text(value), class_="tick", text_anchor="end"))
    for value in x.ticks(5):
        at = float(x(value))
        found.append(element("line", x1=at, x2=at, y1=y.start, y2=y.start + 4, class_="axis"))
        anchor = "end" if at > x.end - 8 else "middle"
        found.append(text(at, y.start + 16, tick_text(value), class_="tick", text_anchor=anchor))
    found.append(element("line", x1=LEFT, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    found.append(text((LEFT + x.end) / 2, HEIGHT - 5, shortened(x_label, 300), class_="label", text_anchor="middle"))
    if y_label:
        middle = (y.start + y.end) / 2
        turned = f"rotate(-90 10 {number(middle)})"
        found.append(text(10, middle, y_label, class_="label", text_anchor="middle", transform=turned))
    return found


def _path(line: Line, x: Scale, y: Scale) -> Markup:
    """The line and what the readout needs of it."""
    finite = np.isfinite(line.y)
    across, up = x(line.x), y(np.where(finite, line.y, y.low))
    steps, pen_down = [], False
    for a, b, known in zip(across.tolist(), up.tolist(), finite.tolist(), strict=True):
        if known:
            steps.append(f"{'L' if pen_down else 'M'}{number(a)} {number(b)}")
        pen_down = known
    css = f"line {ink(line.color)} {line.css}{' dashed' if line.dashed else ''}".strip()
    data: dict[str, Any] = {}
    if line.name:
        values = [
            float(f"{v:.4g}") if known else None for v, known in zip(line.y.tolist(), finite.tolist(), strict=True)
        ]
        data = {
            "data_name": line.name,
            "data_xs": json.dumps(
                [int(v) if v == int(v) else float(f"{v:.6g}") for v in line.x.tolist()], separators=(",", ":")
            ),
            "data_ys": json.dumps(values, separators=(",", ":")),
        }
    dots: list[Markup] = []
    if "raw" not in line.css and len(line.x) <= FEW:
        pairs = zip(across[finite].tolist(), up[finite].tolist(), strict=True)
        dots = [element("circle", cx=a, cy=b, r=2.4) for a, b in pairs]
    return element("g", element("path", d="".join(steps), **data), *dots, class_=css)


def _mark(mark: Mark, x: Scale, y: Scale) -> list[Markup]:
    across, up = float(x(mark.x)), float(y(mark.y))
    left = across > (x.start + x.end) / 2
    below = up < TOP + 16
    css = f"mark {ink(mark.color)} {mark.css}".strip()
    label = text(
        across + (-7 if left else 7),
        up + (15 if below else -7),
        mark.label,
        class_="value",
        text_anchor="end" if left else "start",
    )
    return [element("g", element("circle", cx=across, cy=up, r=4.0), label, class_=css)]


def _legend(lines: Sequence[Line]) -> Markup:
    unique = {line.name: line for line in lines}
    items = [
        element(
            "span",
            element("i", class_="dashed" if line.dashed else None),
            name,
            class_=f"{ink(line.color)} {line.css}".strip(),
        )
        for name, line in unique.items()
    ]
    return element("div", *items, class_="legend")


def _last(values: np.ndarray) -> float:
    return float(values[np.isfinite(values)][-1])
