"""Checks the installation: versions, hardware, what is missing and how to install it.

``python -m segkit.doctor`` exits with status 0 if segkit can work, else 1. It imports a package only after it has found
it, so that it also runs in a broken installation.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.util import find_spec

from segkit.utils import requirements
from segkit.utils.requirements import package_rows, problems
from segkit.utils.streams import drop_stdout, make_streams_lenient

# What has compiled code, which may be there and yet not work: the distribution, and what to import.
COMPILED = (("numpy", "numpy"), ("torch", "torch"), ("torchvision", "torchvision.ops"), ("pillow", "PIL.Image"),
            ("pycocotools", "pycocotools.mask"))  # fmt: skip
# Those without which segkit works.
COMPILED_OPTIONAL = (("hotcoco", "hotcoco"),)


def main() -> int:
    """Prints the findings; the exit status."""
    make_streams_lenient()
    found = problems()
    rows, notes = package_rows(), requirements.notes()
    if not found:
        found = broken_imports(COMPILED)
    if not found:
        notes += broken_imports(package for package in COMPILED_OPTIONAL if find_spec(package[1]) is not None)
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
    """What is installed and cannot be imported, with the reason and what to type."""
    found = []
    for distribution, module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a library built for another version fails in many ways
            reason = (str(error) or type(error).__name__).splitlines()[0]
            # torch and torchvision have to fit each other.
            packages = "torch torchvision" if distribution.startswith("torch") else distribution
            found.append(
                f"{distribution} is installed and cannot be imported ({type(error).__name__}: {reason}): "
                f"pip install --force-reinstall {packages}"
            )
            break  # the others may fail for this reason
    return found


if __name__ == "__main__":
    try:
        status = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # its reader went away
        drop_stdout()
        status = 1
    sys.exit(status)
