"""What the log of a run says about its surroundings, its evaluation and its time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from segkit.engine.run_dir import LOG

_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (.*)$")
_EVALUATED = re.compile(r"evaluated (\d+) images? in ([\d.]+) s(?: \(model: ([\d.]+) s per image\))?")
_DONE = re.compile(r"done in (.+?), peak memory ([\d.]+) MB")
MOST_BYTES = 32 << 20  # of a log; of a longer one the beginning and the end are read


@dataclass(frozen=True)
class RunLog:
    """Facts in a log.

    Attributes:
        environment: versions and devices, in rows; empty without a log.
        started, ended: time stamps of the first and the last line.
        seconds_per_image: of the model in the last evaluation, in seconds.
        evaluated: number of images of the last evaluation.
        duration: of the last session, as the log says it.
        memory_mb: peak memory of the last session.
    """

    environment: tuple[tuple[str, str], ...] = ()
    started: str = ""
    ended: str = ""
    seconds_per_image: float | None = None
    evaluated: int | None = None
    duration: str = ""
    memory_mb: float | None = None


def read_run_log(folder: Path) -> RunLog:
    """Reads the log in a run's folder; an empty RunLog without one."""
    path = folder / LOG
    if not path.is_file():
        return RunLog()
    lines = _text(path).splitlines()
    rows: list[tuple[str, str]] = []
    stamps: list[str] = []
    inside = False
    evaluated, done = None, None
    for line in lines:
        stamped = _STAMP.match(line)
        if stamped:
            stamps.append(stamped[1])
            inside = stamped[2] == "environment"
            if inside:
                rows = []
            evaluated = _EVALUATED.match(stamped[2]) or evaluated
            done = _DONE.match(stamped[2]) or done
        elif inside:
            name, _, value = line.partition("  ")
            rows.append((name.strip(), value.strip()) if value else ("note", line.strip()))
    return RunLog(
        tuple(rows),
        stamps[0] if stamps else "",
        stamps[-1] if stamps else "",
        float(evaluated[3]) if evaluated and evaluated[3] else None,
        int(evaluated[1]) if evaluated else None,
        done[1] if done else "",
        float(done[2]) if done else None,
    )


def _text(path: Path) -> str:
    with open(path, "rb") as file:
        size = path.stat().st_size
        content = file.read(MOST_BYTES)
        if size > MOST_BYTES:
            file.seek(max(MOST_BYTES, size - MOST_BYTES))
            content += b"\n" + file.read()
    return content.decode("utf-8", "replace")
