"""Grids of tiles: they cover the image, overlap as asked and stay inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.structures import tile_windows
from segkit.utils.errors import SegkitError

side = st.integers(1, 60)


@given(height=side, width=side, rows=side, columns=side, share=st.floats(0, 0.99))
def test_grids(height, width, rows, columns, share):
    overlap = int(share * min(rows, columns))
    windows = tile_windows((height, width), (rows, columns), overlap)
    covered = np.zeros((height, width), int)
    for x0, y0, x1, y1 in windows.tolist():
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        assert (y1 - y0, x1 - x0) == (min(rows, height), min(columns, width))
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1
    assert len(set(map(tuple, windows.tolist()))) == len(windows)
    for low, high in ((0, 2), (1, 3)):
        starts, ends = sorted(set(windows[:, low].tolist())), sorted(set(windows[:, high].tolist()))
        assert starts[0] == 0 and ends[-1] == (width if low == 0 else height)
        shared = [end - start for end, start in zip(ends, starts[1:], strict=False)]
        assert all(n >= overlap for n in shared) and all(n == overlap for n in shared[:-1])


@pytest.mark.parametrize(
    ("size", "overlap", "key"), [((16, 16), 16, "overlap"), ((16, 8), -1, "overlap"), ((0, 8), 0, "size")]
)
def test_grids_that_cannot_be(size, overlap, key):
    with pytest.raises(SegkitError, match=rf"^{key}: ") as raised:
        tile_windows((40, 50), size, overlap)
    assert raised.value.key == key
