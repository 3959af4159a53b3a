"""The gallery of a page: ground truth beside the detections of runs, as HTML and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.engine.finished_run import FinishedRun
from segkit.report.gallery.builder import Builder, items_in_turn
from segkit.report.gallery.groups import GalleryGroup
from segkit.utils.errors import counted

FOLDER = Path(__file__).parent  # of the template, the style and the scripts
SCRIPTS = ("matching.js", "drawing.js", "viewport.js", "figures.js", "lightbox.js", "gallery.js")
MAX_BYTES = 12 << 20  # of a gallery

GALLERY_CSS = (FOLDER / "gallery.css").read_text(encoding="utf-8")
GALLERY_JS = "\n".join(
    ["(() => {", '"use strict";', *((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS), "})();"]
)


def gallery(
    run: FinishedRun | Sequence[FinishedRun],
    groups: Sequence[GalleryGroup],
    *,
    score_threshold: float,
    max_bytes: int = MAX_BYTES,
) -> str:
    """Returns a gallery as an HTML fragment.

    A page with galleries needs :data:`GALLERY_CSS` and :data:`GALLERY_JS` once. A fragment holds all
    its data: pictures as data URIs, outlines as SVG paths, overlapping pairs. Names are escaped.

    Args:
        run: a run, or several on the same images, which are shown side by side. Detections of examples are the first one's.
        groups: what is shown. An image in several groups is in the page once.
        score_threshold: where the slider begins.
        max_bytes: of the fragment. Pictures and outlines become coarser to keep it; if that is not enough, the last
            pictures of the groups are absent, and the groups say how many.
    Raises:
        SegkitError: runs of different classes or images, or an image that no run has.
    """
    from jinja2 import Environment, FileSystemLoader

    runs = [run] if isinstance(run, FinishedRun) else list(run)
    builder = Builder(runs, score_threshold)
    items = list(items_in_turn(groups))
    lost = builder.build(items, max_bytes)
    data, shown = builder.data(items, max_bytes)
    text = _script_json(data)
    template = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("gallery.html")
    rows = []
    for index, group in enumerate(groups):
        own = [(number, item) for number, item in enumerate(shown) if item.group == index]
        missing = len(group.items) - len(own)
        unread = sum(item.group == index for item in lost)
        rows.append({"group": group, "pictures": own, "too_large": missing - unread, "unread": unread})
    return template.render(
        id=f"gallery-{hashlib.sha256(text.encode()).hexdigest()[:10]}",
        rows=rows,
        classes=list(enumerate(runs[0].dataset.classes)),
        runs=[one.name for one in runs],
        names={item.image_id: builder.images[item.image_id] for item in shown},
        threshold=f"{score_threshold:.6f}".rstrip("0").rstrip("."),
        counted=counted,
        data=text,
    )


def _script_json(value: Any) -> str:
    """JSON that cannot end the script block that holds it: ASCII, without ``<``, ``>`` and ``&``."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
