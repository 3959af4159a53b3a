"""Environment, evaluation and time of a training, from the files in its folder."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.engine.run_dir import ENVIRONMENT, LOG

logger = logging.getLogger(__name__)

_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (.*)$")
_EVALUATED = re.compile(r"evaluated (\d+) images? in ([\d.]+) s(?: \(model: ([\d.]+) s per image\))?")
_DONE = re.compile(r"done in (.+?), peak memory ([\d.]+) MB")
_TRAINS = ("training data: ", "iter ")  # how lines begin that an evaluation does not write
MOST_BYTES = 32 << 20  # of a log; of a longer one the beginning and the end are read


@dataclass(frozen=True)
class RunLog:
    """Facts about a training.

    Attributes:
        environment: versions and devices, in rows, of the last session that trained; empty if unknown.
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
    """Reads ``environment.json`` and the log in a run's folder.

    Without ``environment.json``, as in older runs, the environment is that of the log's last training.
    """
    environment = _saved_environment(folder / ENVIRONMENT)
    path = folder / LOG
    if not path.is_file():
        return RunLog(environment)
    stamps: list[str] = []
    session: list[tuple[str, str]] = []  # the environment of a training or an evaluation in this folder
    logged: Sequence[tuple[str, str]] = ()  # that of the last training
    inside = False
    evaluated, done = None, None
    for line in _text(path).splitlines():
        stamped = _STAMP.match(line)
        if stamped:
            stamps.append(stamped[1])
            inside = stamped[2] == "environment"
            if inside:
                session = []
            elif stamped[2].startswith(_TRAINS):
                logged = session
            evaluated = _EVALUATED.match(stamped[2]) or evaluated
            done = _DONE.match(stamped[2]) or done
        elif inside:
            name, _, value = line.partition("  ")
            session.append((name.strip(), value.strip()) if value else ("note", line.strip()))
    return RunLog(
        environment or tuple(logged),
        stamps[0] if stamps else "",
        stamps[-1] if stamps else "",
        float(evaluated[3]) if evaluated and evaluated[3] else None,
        int(evaluated[1]) if evaluated else None,
        done[1] if done else "",
        float(done[2]) if done else None,
    )


def _saved_environment(path: Path) -> tuple[tuple[str, str], ...]:
    """The rows of ``environment.json``; empty, with a warning if it is damaged, without them."""
    if not path.is_file():
        return ()
    try:
        with open(path, encoding="utf-8") as file:
            rows = json.loads(file.read(MOST_BYTES))
        return tuple((str(name), str(value)) for name, value in rows.items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        logger.warning("%s is skipped: %s", path, error)
        return ()


def _text(path: Path) -> str:
    with open(path, "rb") as file:
        size = path.stat().st_size
        content = file.read(MOST_BYTES)
        if size > MOST_BYTES:
            file.seek(max(MOST_BYTES, size - MOST_BYTES))
            content += b"\n" + file.read()
    return content.decode("utf-8", "replace")
