"""``segkit doctor``: prints what segkit runs on, what is missing, and the command that installs it.

Imports no package before it knows that the package is installed, so that it works where no other command does.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Sequence

from segkit.cli.parser import Parser
from segkit.utils.cli import run_cli
from segkit.utils.requirements import OPTIONAL, package_rows, problems

EXAMPLES = """
segkit doctor
python -m segkit.doctor
"""
# Packages with compiled code, which can be installed and still fail to load: the distribution, and the module to import.
COMPILED = (("numpy", "numpy"), ("torch", "torch"), ("torchvision", "torchvision.ops"), ("pillow", "PIL.Image"),
            ("pycocotools", "pycocotools.mask"), ("hotcoco", "hotcoco"))  # fmt: skip


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit doctor``, which has ``--help`` alone."""
    return Parser(
        "Print the versions, the processors and GPUs, and what is missing with the command that installs it. "
        "Exit status 0 if segkit can work here, 1 if not.",
        EXAMPLES,
        prog,
    )


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    return make_parser(prog).parse(arguments)


def main(options: argparse.Namespace | None = None) -> int:
    """Prints the findings; returns the exit status, 1 if there is a problem."""
    found = problems()
    rows, notes = package_rows(), [f"{r.name} is not installed: no {r.purpose}" for r in OPTIONAL if not r.version()]
    if not found:
        found = broken_imports(COMPILED)
    if not found:
        from segkit.engine.environment import device_problems, machine_notes, machine_rows  # needs all of them

        found += device_problems()
        rows += machine_rows(free_memory=not found)
        notes += machine_notes()
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows))
    print("".join(f"\nnote: {note}" for note in notes))
    print("".join(f"problem: {problem}\n" for problem in found) if found else "segkit can work here")
    return 1 if found else 0


def broken_imports(modules: Iterable[tuple[str, str]]) -> list[str]:
    """The first distribution that is installed and cannot be imported, with the reason and the command to type."""
    found = []
    for distribution, module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a library built for another version fails in many ways
            reason = (str(error) or type(error).__name__).splitlines()[0]
            both = (
                "torch torchvision" if distribution.startswith("torch") else distribution
            )  # they have to fit each other
            found.append(
                f"{distribution} is installed and cannot be imported ({type(error).__name__}: {reason}): "
                f"pip install --force-reinstall {both}"
            )
            break  # the others may fail for this reason
    return found


if __name__ == "__main__":
    run_cli(lambda: main(parse_arguments()))
