"""Runs benchmarks and analyses for the tools, prints the results and writes JSON."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from segkit.benchmark.analysis import analyze
from segkit.benchmark.models import chosen_device
from segkit.benchmark.options import PARTS, Options, check_parts
from segkit.benchmark.report import Report, machine
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError
from segkit.utils.out_of_memory import is_out_of_memory
from segkit.utils.paths import output_file

RATIOS = "ratio: the peer's time by segkit's, segkit's images a second by the peer's, segkit's memory by the peer's"


def run_parts(names: Sequence[str], options: Options, json_path: str | None = None) -> list[Report]:
    """Runs parts, prints each table when it is ready, and writes all to ``json_path``."""
    check_parts(names)
    device = chosen_device(options)
    check_output(json_path)
    print(f"{machine(device)}\n{RATIOS}")
    reports: list[Report] = []
    for name in names:
        started = time.perf_counter()
        with memory_shortage_explained():
            reports.append(importlib.import_module(PARTS[name]).run(options))
        print(f"\n{reports[-1].text()}\n({time.perf_counter() - started:.0f} s)", flush=True)
        if json_path is not None:  # after each part, so that an interrupted run keeps its results
            write_json(json_path, {"machine": machine(device), "parts": [report.to_dict() for report in reports]})
    return reports


def run_analysis(options: Options, *, weights: str | None, json_path: str | None = None) -> None:
    """Prints the analysis of a configuration's model and writes it to ``json_path``."""
    device = chosen_device(options)
    check_output(json_path)
    with memory_shortage_explained():
        analysis = analyze(options.filled(batch=1, objects=20, size=(800, 1216)), weights=weights, device=device)
    print(analysis.text())
    if json_path is not None:
        write_json(json_path, analysis.to_dict())


def check_output(json_path: str | None) -> None:
    """Raises a SegkitError, before any measurement, if ``--json`` cannot be written."""
    if json_path is not None:
        output_file(json_path, "--json")


@contextmanager
def memory_shortage_explained() -> Iterator[None]:
    """Context that raises a SegkitError in place of torch's out-of-memory errors."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SegkitError(
            "the memory is not enough; try a smaller --size, --batch, --objects or --num-classes"
        ) from error


def write_json(path: str, content: object) -> None:
    """Writes indented JSON atomically."""
    try:
        with atomic_write(output_file(path, "--json")) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SegkitError(f"--json {path}: {error}", value=path) from error
