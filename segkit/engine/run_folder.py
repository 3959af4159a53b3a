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
)


def make_folder(output_dir: str | Path) -> Path:
    """Makes the folder; SegkitError where that is not possible."""
    folder = Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SegkitError(
            f"output_dir: '{folder}' cannot be made: {error.strerror or error}", key="output_dir", value=str(folder)
        ) from error
    return folder


def set_aside_earlier_run(folder: Path) -> None:
    """Moves what an earlier run left into ``previous_N``: a new run neither mixes with it nor overwrites it."""
    found = [path for pattern in _OF_A_RUN for path in sorted(folder.glob(pattern))]
    if not any(path.suffix == ".pth" or path.name == "metrics.json" for path in found):
        return
    number = 1
    while (aside := folder / f"previous_{number}").exists():
        number += 1
    aside.mkdir()
    for path in found:
        path.rename(aside / path.name)
    logger.warning("%s held an earlier run; its files are now in %s (--resume would go on with it)", folder, aside)
