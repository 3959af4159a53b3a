"""Mutated COCO files for ``segkit dataset check``: each ends in a report, or in one segkit error.

python tests/faults/fuzz_check.py 10000
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dataset_tools"))
from planted import World
from stand_in_writer import StandInWriter

from segkit.dataset_tools.check import check_dataset, report_text
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.utils.errors import SegkitError

VALUES = [
    None,
    True,
    -1,
    0,
    1,
    0.5,
    1e300,
    -1e300,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "1",
    "\ud800",
    "../x",
    [],
    {},
]
VALUES += [
    [[]],
    [1, 2, 3, 4],
    [[1, 2]],
    [[0, 0, 0, 0, 0, 0]],
    [[1e7, 1, 2, 3, 4, 5]],
    {"size": [48, 64], "counts": "0"},
]
VALUES += [
    {"size": [0, 0], "counts": []},
    {"size": [48, 64], "counts": [3072]},
    [[1, 1, 9, 9, 9, 1, 1, 9]],
    2**62,
    -(2**63),
]


def mutate(value: object, rng: random.Random) -> object:
    """The value with one part replaced, removed or repeated, at any depth."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if rng.random() < 0.1:
            del value[key]
        elif isinstance(value, list) and rng.random() < 0.1:
            value.append(copy.deepcopy(value[key]))
        else:
            value[key] = mutate(value[key], rng)
        return value
    return copy.deepcopy(rng.choice(VALUES))


def main(count: int) -> None:
    if "coco" not in DATASET_WRITER_REGISTRY:
        DATASET_WRITER_REGISTRY.register(StandInWriter, name="coco")
    with tempfile.TemporaryDirectory() as folder:
        world, slowest = World(Path(folder)), 0.0
        specs = world.specs()
        text = json.dumps(world.coco["train"])
        for seed in range(count):
            rng = random.Random(seed)
            content = json.loads(text)
            for _ in range(rng.randint(1, 6)):
                content = mutate(content, rng)
            changed = json.dumps(content)
            if rng.random() < 0.2:
                position = rng.randrange(len(changed) + 1)
                changed = (
                    changed[:position]
                    + rng.choice(["", "}", "]", '"', "\\", "0", "[[", " nul"])
                    + changed[position + 1 :]
                )
            Path(specs["train"]["json"]).write_text(changed, encoding="utf-8", errors="surrogatepass")
            started = time.monotonic()
            try:
                report = check_dataset(specs, pixels=False, workers=0, fix=Path(folder) / f"fixed/{seed}")
                report.write_json(Path(folder) / "faults.json")
                assert report_text(report)
                shutil.rmtree(Path(folder) / "fixed")
            except SegkitError:
                pass
            except Exception:
                print(f"seed {seed}: {changed}")
                raise
            slowest = max(slowest, time.monotonic() - started)
        print(f"{count} files, the slowest took {slowest:.1f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]))
