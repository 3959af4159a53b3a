"""Writes a data set as one HTML page: images with their objects, for a browser."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segkit.data.formats import Dataset
from segkit.data.formats.image_names import image_names
from segkit.dataset_tools.gallery.faults import SEVERITIES, Entry, Fault, assign_faults, read_faults
from segkit.dataset_tools.gallery.shapes import Shape, shapes
from segkit.dataset_tools.source import open_data
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError, counted
from segkit.utils.images import LazyImage
from segkit.utils.images.overview import overview
from segkit.utils.paths import output_file, prepare_folder
from segkit.utils.progress import progress
from segkit.visualization.data_uris import SMALL_SIDE, enlargement, picture_uri, thumbnail_size

FOLDER = Path(__file__).parent  # of the page and its style and script
MAX_BYTES = 100 << 20  # of the page
Sort = Literal["check", "objects", "name"]


@dataclass
class Card:
    """One image on the page."""

    name: str
    split: str
    width: int
    height: int
    size: str
    count: str
    picture: str = ""
    small: bool = False
    shapes: list[Shape] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """About what the card adds to the page."""
        return len(self.picture) + sum(len(shape.path) + 300 for shape in self.shapes) + 600


def show(
    source: str,
    output: str | None = None,
    *,
    format: str | None = None,
    limit: int = 200,
    sort: Sort | None = None,
    check: str | None = None,
    side: int = 640,
) -> str:
    """Writes the page; returns a line that says what is on it.

    Args:
        source: folder or file of the data.
        output: the HTML file; None: ``NAME.html`` in the current folder.
        format: of the source; None: recognised by its content.
        limit: largest number of images.
        sort: ``check``: images with the worst faults first; ``objects``: those with the most objects first; ``name``.
            None: ``check`` if there is a file of faults, else ``name``.
        check: JSON of ``segkit dataset check --json``.
        side: longer side of an image on the page, in pixels.
    """
    path = Path(source).resolve()
    file = output_file(output or f"{path.stem if path.is_file() else path.name}.html", "--output")
    prepare_folder(file.parent, "--output")
    if sort == "check" and check is None:
        raise SegkitError(
            "--sort check needs the faults: --check FILE, as written by segkit dataset check --json", key="sort"
        )
    found_faults = [] if check is None else read_faults(check)
    opened = open_data(source, format)
    entries = [
        Entry(split, i, name) for split, data in opened.splits.items() for i, name in enumerate(image_names(data))
    ]
    general = assign_faults(entries, found_faults)
    ordered = sort_entries(entries, opened.splits, sort or ("check" if check is not None else "name"))
    cards, total = [], 0
    for entry in progress(ordered[:limit], min(limit, len(ordered)), "images drawn"):
        card = make_card(opened.splits[entry.split], entry, side)
        total += card.bytes
        if total > MAX_BYTES:
            break
        cards.append(card)
    shown = f"{len(cards):,} of {counted(len(entries), 'image')}"
    reason = ""
    if len(cards) < len(entries):
        reason = f"({'the page would be too large with more' if total > MAX_BYTES else '--limit shows more'})"
    classes = next(iter(opened.splits.values())).classes
    page = render(
        source, opened.reason, shown, reason, classes, list(opened.splits), cards, general, bool(found_faults)
    )
    try:
        with atomic_write(file) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SegkitError(
            f"--output: '{file}' cannot be written: {error.strerror or error}", value=str(file)
        ) from error
    return f"{file}: {shown}{' ' + reason if reason else ''}, {len(page.encode()) / 2**20:.1f} MB"


def sort_entries(entries: Sequence[Entry], splits: Mapping[str, Dataset], by: Sort) -> list[Entry]:
    """The entries in the order of the page; equal ones stay as they are."""
    if by == "objects":
        return sorted(entries, key=lambda entry: -_object_count(splits[entry.split], entry.index))
    if by == "check":
        return sorted(entries, key=lambda entry: [-n for n in _severities(entry)])
    return sorted(entries, key=lambda entry: (entry.split != "train", entry.split, entry.name))


def _object_count(dataset: Dataset, index: int) -> int:
    """Objects of an image; 0 if its annotation cannot be read, which its card says."""
    try:
        return sum(dataset.label_counts(index).values())
    except (SegkitError, OSError):
        return 0


def make_card(dataset: Dataset, entry: Entry, side: int) -> Card:
    """Draws one image; an image that cannot be read has the error as a fault."""
    try:
        sample = dataset.open(entry.index)
        height, width = thumbnail_size(sample.size, side)
        image, targets = sample.image, sample.targets
        if isinstance(image, LazyImage):
            small = overview(image, (height, width))
            image = small if image.dtype.is_floating_point else small.round().to(image.dtype)
            targets = dataset.targets(entry.index)
    except (SegkitError, OSError) as error:
        fault = Fault("error", str(error), None, None)
        faults = (
            entry.faults if any(fault.message in known.message for known in entry.faults) else [fault, *entry.faults]
        )
        return Card(entry.name, entry.split, 4, 3, "unreadable", "no objects", faults=faults)
    unit = enlargement((height, width))
    objects = int((~targets.crowd).sum())
    regions = len(targets) - objects
    count = counted(objects, "object") + (f", {regions:,} crowd or ignored" if regions else "")
    return Card(
        entry.name,
        entry.split,
        width * unit,
        height * unit,
        f"{sample.size[1]} x {sample.size[0]}",
        count,
        picture_uri(image, (height, width)),
        max(height, width) < SMALL_SIDE,
        shapes(targets, dataset.classes, sample.size, (height, width)),
        entry.faults,
    )


def render(
    source: str,
    format_reason: str,
    shown: str,
    reason: str,
    classes: Sequence[str],
    splits: Sequence[str],
    cards: Sequence[Card],
    general: Sequence[Fault],
    has_faults: bool,
    *,
    groups: str = "splits",
) -> str:
    """The page.

    Its cards are filtered by ``splits``, which are called ``groups`` there. Every text from the data is escaped, and a policy
    in the page allows no script but its own.
    """
    from jinja2 import Environment, FileSystemLoader

    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = Environment(loader=FileSystemLoader(FOLDER), autoescape=True).get_template("page.html")
    return template.render(
        title=Path(source).resolve().name,
        source=format_reason,
        shown=shown,
        reason=reason,
        classes=list(_classes(classes, cards)),
        splits=list(splits),
        groups=groups,
        cards=cards,
        faults=sorted(general, key=lambda fault: _rank(fault.severity)),
        has_faults=has_faults,
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=digest,
    )


def _classes(classes: Sequence[str], cards: Sequence[Card]) -> Iterator[dict[str, Any]]:
    """Name, colour and number of objects on the page of each class, and of the ignore regions if there are any."""
    counts = Counter(shape.label for card in cards for shape in card.shapes)
    for label, name in enumerate(classes):
        color = f"hsl({round(label * 137.508 + 200) % 360} 85% 55%)"
        yield {"label": label, "name": name, "color": color, "count": counts[str(label)]}
    if counts["x"]:
        yield {"label": "x", "name": "ignored regions", "color": "hsl(0 0% 62%)", "count": counts["x"]}


def _severities(entry: Entry) -> list[int]:
    """Numbers of faults by severity, the worst first."""
    counts = Counter(fault.level for fault in entry.faults)
    return [counts[level] for level in (*SEVERITIES, "note")]


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
