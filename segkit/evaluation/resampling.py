"""Bootstrap resamples as counts: how many times each image, or each run, is drawn."""

from __future__ import annotations

import numpy as np

from segkit.utils.errors import SegkitError

CHUNK = 1 << 20  # draws that are in memory at a time


def resample_counts(items: int, resamples: int, seed: int, *, draws: int | None = None) -> np.ndarray:
    """Draws items with replacement; returns how many times each resample holds each item: int64 [R, items].

    The draws come from PCG64's raw output, which NumPy keeps the same in all versions and on all platforms. The first rows
    do not depend on the number of resamples.

    Args:
        items: number of things to draw from.
        resamples: R.
        seed: of the generator, 0 or more.
        draws: in each resample; None: as many as there are items.
    Raises:
        SegkitError: no resamples, or a negative seed.
    """
    if resamples < 1:
        raise SegkitError(f"resamples: expected 1 or more, got {resamples}", key="resamples", value=resamples)
    if seed < 0:
        raise SegkitError(f"seed: expected 0 or more, got {seed}", key="seed", value=seed)
    draws = items if draws is None else draws
    counts = np.zeros((resamples, items), np.int64)
    generator = np.random.PCG64(seed)
    step = max(1, CHUNK // max(draws, 1))
    for start in range(0, resamples if items else 0, step):
        rows = min(step, resamples - start)
        raw = generator.random_raw(rows * draws)
        # The upper 32 bits times the number of items: biased by less than items / 2^32.
        drawn = ((raw >> np.uint64(32)) * np.uint64(items) >> np.uint64(32)).astype(np.int64)
        drawn += np.repeat(np.arange(rows) * items, draws)
        counts[start : start + rows] = np.bincount(drawn, minlength=rows * items).reshape(rows, items)
    return counts
