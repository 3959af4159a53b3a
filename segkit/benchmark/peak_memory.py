"""Measures the peak memory of one side's step in a separate process.

In one process a side would reuse memory that the other has freed. In a separate process all of its memory is measured:
weights, gradients, the optimizer's state, activations.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import segkit
from segkit.benchmark.measure import PeakMemory, load_kernels
from segkit.benchmark.models import chosen_device
from segkit.benchmark.options import PARTS, Options

STEPS = 2  # from the second step on the optimizer has its state


def peak_memory(part: str, side: str, options: Options, folder: Path) -> float | str:
    """Bytes of the peak, or why there is no figure.

    Args:
        part: a module of PARTS with ``make_side(options, name, folder) -> Side``.
        side: name of one of its sides.
        folder: of the weights.
    """
    found = figures_of(__name__, part, side, str(folder), json.dumps(asdict(options)))
    return found if isinstance(found, str) else found[0]


def figures_of(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> list[float] | str:
    """The figures in the last line that a module prints in a separate process, or an error.

    Args:
        module: name.
        arguments: its command line.
        environment: added to this process's.
    """
    root = str(Path(segkit.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode < 0:
        return f"its process was ended by signal {-done.returncode}, as by a system that is out of memory"
    if done.returncode:
        return f"its process failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    return [float(number) for number in done.stdout.strip().splitlines()[-1].split()]


def memory_note(device_type: str) -> str:
    """A note on how memory is measured."""
    if device_type == "cuda":
        return "peak memory: torch.cuda.max_memory_allocated of a process a side, weights and optimizer included"
    return "peak memory: highest resident memory of a process a side beyond what it had before model and data were made"


def main(part: str, side: str, folder: str, options: str) -> None:
    """Prints the peak in bytes; runs in the separate process."""

    module = importlib.import_module(PARTS[part])
    settings = Options(**json.loads(options))
    load_kernels(chosen_device(settings))
    memory = PeakMemory(chosen_device(settings))
    made = module.make_side(settings, side, Path(folder))
    memory.reset()
    for _ in range(STEPS):
        made.step()
    print(memory.read())


if __name__ == "__main__":
    main(*sys.argv[1:])
