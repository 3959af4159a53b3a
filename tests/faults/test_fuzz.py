"""Mutated configurations and annotation files: accepted, or a SegkitError, in little time and memory.

The short test runs with the suite. The long one, 10,000 of each with a limit of 5 s and 1 GB for every one of them, is
``pytest -m slow tests/faults/test_fuzz.py -s``; ``SEGKIT_FUZZ=2000:4000`` tries those of these seeds.
"""

import os
import resource
import signal
import tempfile
import time
from pathlib import Path

import pytest
from fuzz_annotations import try_annotations
from fuzz_configs import try_config
from fuzz_folders import try_folder
from fuzz_lvis import try_lvis
from fuzz_mask_formats import try_cityscapes, try_coco_panoptic, try_label_pairs, try_mask_folder
from fuzz_outline_formats import try_geojson, try_imagej_rois
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SECONDS, BYTES = 5, 1 << 30
TRIES = {
    "configs": try_config,
    "annotations": try_annotations,
    "lvis": try_lvis,
    "label_pairs": try_label_pairs,
    "mask_folder": try_mask_folder,
    "cityscapes": try_cityscapes,
    "coco_panoptic": try_coco_panoptic,
    "geojson": try_geojson,
    "imagej_rois": try_imagej_rois,
    "folders": try_folder,
}


@pytest.mark.parametrize("kind", TRIES)
def test_fuzz(kind):
    """Hypothesis chooses the seeds, and looks for a smaller one if one fails."""
    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=60 if kind in ("configs", "annotations") else 12, derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )  # fmt: skip
        @given(st.integers(0, 2**40))
        def run(seed):
            TRIES[kind](seed, folder)

        run()


def _too_long(number, frame):
    raise TimeoutError(f"more than {SECONDS} s")


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRIES)
def test_fuzz_10000(kind, capsys):
    first, last = map(int, os.environ.get("SEGKIT_FUZZ", "0:10000").split(":"))
    accepted, failed, longest = 0, {}, (0.0, None)
    with tempfile.TemporaryDirectory() as folder:
        TRIES[kind](0, folder)  # imports and caches do not count for the first seed
        began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = signal.signal(signal.SIGALRM, _too_long)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, limits[1]))
        started_all = time.monotonic()
        try:
            for seed in range(first, last):
                started = time.process_time()
                signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)  # the limit is on processor time, for others may run
                try:
                    accepted += TRIES[kind](seed, folder)
                except Exception as error:
                    failed.setdefault(f"{type(error).__name__}: {str(error)[:100]}", seed)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                longest = max(longest, (time.process_time() - started, seed))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
            signal.signal(signal.SIGALRM, before)
        size = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began) / 1024
    with capsys.disabled():
        print(
            f"\n{kind} {first}..{last}: {accepted} accepted, {time.monotonic() - started_all:.0f} s, the longest "
            f"{longest[0]:.2f} s (seed {longest[1]}), {size:.0f} MB more; failed, with the first seed: {failed}"
        )
    assert not failed and longest[0] < SECONDS
