"""Puts the sections into one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

import segkit
from segkit.report.analysis import RunAnalysis
from segkit.report.sections.base import Section, fill

FOLDER = Path(__file__).parent  # of the style and the script
_END = re.compile(r"</(?=script|style)", re.IGNORECASE)


def render(
    title: str,
    runs: Sequence[RunAnalysis],
    sections: Sequence[Section],
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    seconds: str = "",
) -> str:
    """The whole page.

    A policy in the page allows no script but its own, no request, and no image but those in it.

    Args:
        title: names of the runs.
        runs: whose colours the head of the page explains, if there are several.
        sections: in their order; the first is the page's head.
        styles, scripts: of sections, as the gallery's, after the page's own.
        seconds: how long the analysis took, for people.
    """
    own = [(FOLDER / "page.js").read_text(encoding="utf-8"), *scripts]
    for text in (*own, *styles):
        assert not _END.search(text), "a script or style would end early"
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in own]
    return str(
        fill(
            "page.html",
            title=title,
            runs=runs,
            sections=sections,
            style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
            styles=[Markup(style) for style in styles],
            scripts=[Markup(script) for script in own],
            hashes=" ".join(f"'sha256-{one}'" for one in hashes),
            version=segkit.__version__,
            made=datetime.now().strftime("%Y-%m-%d %H:%M"),
            seconds=seconds,
        )
    )
