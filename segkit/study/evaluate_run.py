"""Evaluates another run's final model with a changed configuration.

``python -m segkit.study.evaluate_run``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from segkit.utils.cli import run_cli


def main(words: Sequence[str]) -> int:
    """Evaluates the model of the run in one folder with the configuration of another.

    Args:
        words: the configuration file, and the checkpoint.
    """
    import numpy  # noqa: F401 - before torch, which ignores a Ctrl-C while it imports NumPy itself

    from segkit.config.loader import load_config
    from segkit.engine.checkpoint import METRICS, read_checkpoint
    from segkit.engine.run import evaluate_only
    from segkit.engine.run_dir import lock_run_dir
    from segkit.utils.atomic import atomic_write

    file, weights = words
    config = load_config(file)
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(folder):
        state = read_checkpoint(Path(weights))
        metrics = evaluate_only(config, weights=weights)
        present = config.with_values({"data.classes": state["classes"]})
        with atomic_write(folder / "config.yaml") as temporary:  # by which reports open the run
            temporary.write_text(present.to_yaml(), encoding="utf-8")
        with atomic_write(folder / METRICS) as temporary:
            plain = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
            temporary.write_text(json.dumps({"iteration": state["iteration"], **plain}) + "\n", encoding="utf-8")
    return 0


def run() -> NoReturn:
    """Ends the process with the exit status."""
    run_cli(lambda: main(sys.argv[1:]))


if __name__ == "__main__":
    run()
