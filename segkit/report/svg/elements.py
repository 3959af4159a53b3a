"""Elements of SVG and HTML as escaped markup."""

from __future__ import annotations

import math

from markupsafe import Markup, escape

COLORS = 8  # inks of the page's style, --c0 to --c7
CHARACTER = 6.1  # width of a character of a label on average, in units of a view box


def element(name: str, *children: str | Markup, **attributes: object) -> Markup:
    """One element; texts and values of attributes are escaped.

    Args:
        name: of the element.
        children: texts and elements.
        attributes: by name, with ``_`` for ``-`` and a trailing ``_`` dropped (``class_``); None: absent.
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(number(value) if isinstance(value, float) else value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    inner = Markup("").join(escape(child) for child in children)
    return Markup(f"<{name}{''.join(parts)}>{inner}</{name}>")


def number(value: float) -> str:
    """A coordinate with one decimal, without trailing zeros."""
    return f"{value:.1f}".removesuffix(".0")


def figure(
    title: str,
    description: str,
    size: tuple[float, float],
    children: list[Markup],
    *after: Markup,
    **attributes: object,
) -> Markup:
    """A figure with a caption and a picture.

    Args:
        title: caption, and name of the picture for screen readers.
        description: of what the picture shows, for screen readers.
        size: (width, height) of the view box.
        children: elements of the picture.
        after: markup after the picture, as a legend.
        attributes: of the picture; ``class_`` names its kind.
    """
    kind = attributes.pop("class_", "plain")
    picture = element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        viewBox=f"0 0 {number(size[0])} {number(size[1])}",
        role="img",
        class_=kind,
        **attributes,
    )
    return element("figure", element("figcaption", title), picture, *after, class_=f"chart {kind}")


def text(x: float, y: float, content: str, **attributes: object) -> Markup:
    """A label at a position."""
    return element("text", content, x=float(x), y=float(y), **attributes)


def shortened(content: str, width: float) -> str:
    """As much of a label as fits into ``width`` units, with an ellipsis if it is cut."""
    fits = max(1, int(width / CHARACTER))
    return content if len(content) <= fits else content[: fits - 1] + "…"


def ink(color: int) -> str:
    """The class of a colour; colours repeat after ``COLORS``."""
    return f"c{color % COLORS}"


def significant(value: float, digits: int = 3) -> str:
    """A value for people: ``digits`` significant digits, thousands separated; ``-`` for NaN."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 10**digits or (value == int(value) and abs(value) < 10**6):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
