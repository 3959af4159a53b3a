"""A reliability diagram: how often detections of a score are right."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from segkit.evaluation.score_curves import Calibration
from segkit.report.svg.elements import element, figure, ink, number, text
from segkit.report.svg.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from segkit.report.svg.scales import Scale, tick_text


def reliability_diagram(title: str, calibration: Calibration, *, color: int = 0, css: str = "") -> Markup:
    """Draws the precision of each bin of scores beside the line of perfect scores.

    Below are the numbers of detections, relative to the largest.

    Args:
        title: caption.
        calibration: the bins.
        color: index of the page's colours.
        css: more classes, as ``r0``.
    """
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    x, y = Scale(0, 1, LEFT, right), Scale(0, 1, bottom, TOP)
    children = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = float(y(value))
        children.append(element("line", x1=LEFT, x2=right, y1=at, y2=at, class_="grid"))
        children.append(text(LEFT - 6, at + 3.5, tick_text(value), class_="tick", text_anchor="end"))
        children.append(text(float(x(value)), bottom + 16, tick_text(value), class_="tick", text_anchor="middle"))
    highest = max(int(calibration.counts.max(initial=0)), 1)
    listed, bars = [], []
    for i, count in enumerate(calibration.counts.tolist()):
        if not count:
            continue
        low, high = float(x(calibration.edges[i])), float(x(calibration.edges[i + 1]))
        score, precision = float(calibration.scores[i]), float(calibration.precision[i])
        top = float(y(precision))
        words = f"scores {calibration.edges[i]:.2f} to {calibration.edges[i + 1]:.2f}: {count:,} detections"
        words += f", mean score {score:.2f}, {100 * precision:.0f} % right"
        share = count / highest
        bars.append(
            element(
                "g",
                element("title", words),
                element("rect", x=low + 1, y=top, width=max(high - low - 2, 1), height=bottom - top, rx=2),
                element(
                    "rect",
                    x=low + 1,
                    y=bottom - 4 * share,
                    width=max(high - low - 2, 1),
                    height=4 * share,
                    class_="count",
                ),
                element("circle", cx=float(x(score)), cy=top, r=3.0),
            )
        )
        listed.append(words)
    children.append(element("g", *bars, class_=f"bins {ink(color)} {css}".strip()))
    diagonal = f"M{number(LEFT)} {number(bottom)}L{number(right)} {number(TOP)}"
    children.append(element("path", d=diagonal, class_="ideal"))
    children.append(element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
    children.append(text((LEFT + right) / 2, HEIGHT - 5, "score", class_="label", text_anchor="middle"))
    middle = (TOP + bottom) / 2
    turned = f"rotate(-90 10 {number(middle)})"
    children.append(text(10, middle, "share that is right", class_="label", text_anchor="middle", transform=turned))
    total = int(np.sum(calibration.counts))
    if not total:
        children.append(text(WIDTH / 2, HEIGHT / 2, "no detections", class_="none", text_anchor="middle"))
    words = f"Reliability diagram of {total:,} detections; expected calibration error {calibration.error:.3f}. "
    return figure(title, words + "; ".join(listed), (WIDTH, HEIGHT), children, class_="reliability")
