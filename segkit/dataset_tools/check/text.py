"""A report as the table that the command prints."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from segkit.dataset_tools.check.kinds import KINDS
from segkit.dataset_tools.check.report import Fault, Mending, Report

EXAMPLES = 3  # faults of a kind that the table names
MAX_LINES = 3  # of the message of a fault


def report_text(report: Report) -> str:
    """The report in lines: what the data are, faults by kind, notes, what was mended."""
    width = max(60, min(shutil.get_terminal_size((110, 24)).columns, 130))
    lines = [report.sentence, *([f"recognised by: {report.reason}"] if report.reason else []), ""]
    counts = report.counts()
    if counts:
        lines += _table(report, counts, width)
    totals = ", ".join(
        f"{number:,} {severity}{'' if number == 1 else 's'}" for severity, number in report.severities().items()
    )
    lines.append(totals if counts else "no faults found")
    if not report.pixels:
        lines.append("pixels were not read (--no-pixels): equal and damaged images are not found")
    for split, notes in report.notes.items():
        lines += ["", f"notes of the reader{'' if split == 'all' else f' ({split})'}:"]
        for note in notes:
            lines += textwrap.wrap(note, width - 2, initial_indent="  ", subsequent_indent="    ")
    if report.fix is not None:
        lines += ["", *_mending(report.fix, list(counts))]
    return "\n".join(lines)


def _table(report: Report, counts: dict[str, int], width: int) -> list[str]:
    """A row for each kind; below it the first faults and what to do."""
    column = max([len(kind) for kind in counts] + [4])
    digits = max([len(f"{number:,}") for number in counts.values()] + [5])
    head = f"{'severity':8}  {'kind':{column}}  {'count':>{digits}}  "
    lines = [head + "first places, and what to do", "-" * width]
    indent = " " * (8 + 2 + 4)
    for kind, count in counts.items():
        title = KINDS[kind].title
        row = f"{KINDS[kind].severity:8}  {kind:{column}}  {count:>{digits},}  "
        lines += textwrap.wrap(row + title, width, subsequent_indent=" " * len(row), drop_whitespace=False)
        for fault in _first(report, kind):
            where, place = _short(fault.where()), _short(fault.place)
            place = f" [{place}]" if fault.object is not None and place not in ("", where) else ""
            message = f" {fault.message}"
            if _ends_with(where, fault.message):  # many readers name their file themselves
                message = fault.message.partition(":")[2]
            shown = textwrap.wrap(f"{where}{place}:{message}", width - 16, break_long_words=False)
            lines += [indent + ("  " if number else "") + line for number, line in enumerate(shown[:MAX_LINES])]
        if count > EXAMPLES:
            lines.append(f"{indent}and {count - EXAMPLES:,} more")
        advice = textwrap.wrap("-> " + KINDS[kind].advice, width - 16)
        lines += [indent + ("   " if number else "") + line for number, line in enumerate(advice)]
    return [*lines, "-" * width]


def _short(place: str) -> str:
    """A place without the folders of its file."""
    file, colon, entry = place.partition(": ")
    return file.replace("\\", "/").rpartition("/")[2] + colon + entry if colon else place


def _ends_with(path: str, message: str) -> bool:
    """Whether a message begins with a path's last parts, as ``train/a.txt:3: ...``."""
    file = message.partition(":")[0].replace("\\", "/")
    return bool(file) and f"/{path}".replace("\\", "/").endswith(f"/{file}")


def _first(report: Report, kind: str) -> list[Fault]:
    found: list[Fault] = []
    for fault in report.faults:
        if fault.kind == kind:
            found.append(fault)
            if len(found) == EXAMPLES:
                break
    return found


def _mending(fix: Mending, kinds: Sequence[str]) -> list[str]:
    """What was mended, and what remains; ``kinds``: their order."""
    lines = [f"mended copy: {fix.output} ({fix.format}), {fix.images:,} images, {fix.objects:,} objects"]
    lines += [f"  mended: {fix.done[kind]:,} {kind} ({KINDS[kind].mended})" for kind in kinds if fix.done[kind]]
    remaining = [kind for kind in kinds if fix.remaining[kind] and KINDS[kind].severity != "note"]
    lines += [f"  not mended: {fix.remaining[kind]:,} {kind}" for kind in remaining]
    lines += [f"  the format cannot hold: {number:,} {loss}" for loss, number in fix.losses.items()]
    return lines
