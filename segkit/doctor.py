"""Says what segkit runs on, what is missing, and how to put it right: ``python -m segkit.doctor``.

Exit status 0 where segkit can work, 1 where it cannot. Nothing heavy is imported before it is known to be there, so that
this works where nothing else does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable

from segkit.utils.requirements import OPTIONAL, package_rows, problems
from segkit.utils.streams import drop_stdout, make_streams_lenient

# What has compiled code, which may be there and yet not work: the distribution, and what to import.
COMPILED = (("numpy", "numpy"), ("torch", "torch"), ("torchvision", "torchvision.ops"), ("pillow", "PIL.Image"),
            ("pycocotools", "pycocotools.mask"), ("hotcoco", "hotcoco"))  # fmt: skip


def main() -> int:
    """Prints the findings; the exit status."""
    make_streams_lenient()
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
    """What is installed and cannot be imported, with the reason and what to type."""
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
    try:
        status = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # its reader went away
        drop_stdout()
        status = 1
    sys.exit(status)
