"""The folder of a run."""

from __future__ import annotations

import logging
from pathlib import Path

from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
_OF_A_RUN = (
    "model_*.pth",
    "last_checkpoint",
    "config.yaml",
    "metrics.json",
    "events.out.tfevents.*",
    "curves.png",
    "inference",
    "nonfinite_batch_*.pth",
    "profile",
    "log.txt",
)


def make_folder(output_dir: str | Path) -> Path:
    """Makes the folder; SegkitError where that is not possible."""
    folder = Path(output_dir)
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: ~name of nobody
        reason = getattr(error, "strerror", None) or error
        raise SegkitError(
            f"output_dir: '{folder}' cannot be made: {reason}", key="output_dir", value=str(folder)
        ) from error
    return folder


def log_length(folder: Path) -> int:
    """Bytes that earlier runs have written to the log."""
    log = folder / "log.txt"
    return log.stat().st_size if log.is_file() else 0


def set_aside_earlier_run(folder: Path, log_length: int = 0) -> None:
    """Moves what an earlier run left into ``previous_N``: a new run neither mixes with it nor overwrites it.

    Args:
        log_length: how much of the log is the earlier run's; the rest stays, for the new one is being written to it.
    """
    found = [path for pattern in _OF_A_RUN for path in sorted(folder.glob(pattern))]
    if not any(path.suffix == ".pth" or path.name == "metrics.json" for path in found):
        return
    number = 1
    while (aside := folder / f"previous_{number}").exists():
        number += 1
    aside.mkdir()
    for path in found:
        if path.name == "log.txt":
            _cut_log(path, aside / path.name, log_length)
        else:
            path.rename(aside / path.name)
    logger.warning("%s held an earlier run; its files are now in %s (--resume would go on with it)", folder, aside)


def _cut_log(log: Path, earlier: Path, length: int) -> None:
    """Moves the first ``length`` bytes, within the file: a handler has it open, and appends."""
    content = log.read_bytes()
    earlier.write_bytes(content[:length])
    with open(log, "r+b") as file:
        file.write(content[length:])
        file.truncate()
