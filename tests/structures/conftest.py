"""Many random objects that are never dense."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for geometry_scenes.py


@pytest.fixture(scope="session")
def draw_cells():
    """A function (count, sides, size, seed) -> InstanceMasks: overlapping ellipses in boxes, never N x H x W."""
    from segkit.structures import InstanceMasks
    from segkit.structures.ragged import pack, tighten

    def draw(count, sides, size, seed=0):
        rng = np.random.default_rng(seed)
        crops, crop_boxes = [], []
        for _ in range(count):
            h, w = rng.integers(sides[0], sides[1] + 1, 2)
            top, left = rng.integers(0, size[0] - h + 1), rng.integers(0, size[1] - w + 1)
            y, x = np.mgrid[:h, :w] + 0.5
            crops.append(((y / h * 2 - 1) ** 2 + (x / w * 2 - 1) ** 2 <= 1).astype(np.uint8))
            crop_boxes.append([left, top, left + w, top + h])
        crops, tight = tighten(crops, torch.tensor(crop_boxes), range(count))
        return InstanceMasks(pack(crops), tight, size)

    return draw
