"""Mutated YOLO, LabelMe, CVAT and VOC data sets: accepted, or one SegkitError.

10,000 of each, within 5 s and 1 GB: ``python tests/faults/fuzz_tool_formats.py yolo 0 10000``.
"""

import pytest
from fuzz_tool_formats import MAKERS, try_format


@pytest.mark.parametrize("format", MAKERS)
def test_mutated_data(format, tmp_path):
    accepted = sum(try_format(format, seed, tmp_path) for seed in range(25))
    assert 0 < accepted < 25  # the mutations are neither harmless nor all fatal
