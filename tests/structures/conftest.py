"""Random objects for all structure tests."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def draw_objects():
    """A function (count, height, width, seed) -> bool [N, H, W]: ellipses, noise, single pixels, empty and full."""

    def draw(count, height, width, seed=0):
        rng = np.random.default_rng(seed)
        dense = np.zeros((count, height, width), bool)
        y, x = np.mgrid[:height, :width] + 0.5
        for image in dense:
            kind = rng.choice(
                ["ellipse", "border", "noise", "pixel", "empty", "full", "box"], p=[0.4, 0.1, 0.1, 0.1, 0.1, 0.05, 0.15]
            )
            cy, cx = rng.uniform(0, height), rng.uniform(0, width)
            ry, rx = rng.uniform(0.5, max(1, height / 3)), rng.uniform(0.5, max(1, width / 3))
            if kind == "ellipse":
                image[:] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
            elif kind == "border":
                image[:] = (y < ry) & (np.abs(x - cx) < rx)
            elif kind == "noise":
                image[:] = (rng.random(image.shape) < 0.3) & (np.abs(x - cx) < rx)
            elif kind == "pixel":
                image[int(cy), int(cx)] = True
            elif kind == "full":
                image[:] = True
            elif kind == "box":
                image[:] = (np.abs(y - cy) < ry) & (np.abs(x - cx) < rx)
        return torch.from_numpy(dense)

    return draw


@pytest.fixture(scope="session")
def draw_cells():
    """A function (count, sides, size, seed) -> InstanceMasks: overlapping ellipses in boxes, never N x H x W."""
    from segkit.structures import InstanceMasks
    from segkit.structures.ragged import pack, tighten

    def draw(count, sides, size, seed=0):
        rng = np.random.default_rng(seed)
        crops, extents = [], []
        for _ in range(count):
            h, w = rng.integers(sides[0], sides[1] + 1, 2)
            top, left = rng.integers(0, size[0] - h + 1), rng.integers(0, size[1] - w + 1)
            y, x = np.mgrid[:h, :w] + 0.5
            crops.append(((y / h * 2 - 1) ** 2 + (x / w * 2 - 1) ** 2 <= 1).astype(np.uint8))
            extents.append([left, top, left + w, top + h])
        crops, tight = tighten(crops, torch.tensor(extents), range(count))
        return InstanceMasks(pack(crops), tight, size)

    return draw
