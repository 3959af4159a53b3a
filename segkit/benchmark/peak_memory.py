"""The peak memory of one side's step, in a process of its own.

In one process the sides would share what the other had freed; apart, each has all its memory to itself: weights,
gradients, the optimizer's state, activations.
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

STEPS = 2  # from the second on the optimizer has its state


def peak_memory(part: str, side: str, options: Options, folder: Path) -> float | str:
    """Bytes, or why there is no figure.

    Args:
        part: a module of PARTS with ``make_side(options, name, folder) -> Side``.
        side: which of its sides.
        folder: where the weights are.
    """
    found = numbers_of(__name__, part, side, str(folder), json.dumps(asdict(options)))
    return found if isinstance(found, str) else found[0]


def numbers_of(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> list[float] | str:
    """The numbers in the last line that a module prints, run in a process of its own; or why there are none.

    Args:
        module: name.
        arguments: of its command line.
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


def how(device_type: str) -> str:
    """In words, what the figures are."""
    if device_type == "cuda":
        return "peak memory: torch.cuda.max_memory_allocated of a process a side, weights and optimizer included"
    return "peak memory: highest resident memory of a process a side beyond what it had before model and data were made"


def main(part: str, side: str, folder: str, options: str) -> None:
    """The other process: prints the bytes."""

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
