"""Crowd and ignore regions in pictures."""

import numpy as np
import pytest
import torch

from segkit.structures import InstanceMasks, Targets
from segkit.structures.targets import ALL_CLASSES
from segkit.visualization import draw, draw_detections
from segkit.visualization.hatching import hatch

H, W = 60, 80


def disc():
    y, x = np.mgrid[:H, :W]
    return (y - 30) ** 2 + (x - 40) ** 2 < 500


@pytest.mark.parametrize("value", [0, 128, 255])
def test_lines_are_inside_the_region_alone_and_seen_on_any_picture(value):
    picture = np.full((H, W, 3), value, np.uint8)
    where = disc()
    hatch(picture, where[5:, 7:], 7, 5, 1)
    changed = (picture != value).any(2)
    assert not changed[~where].any()
    contrast = np.abs(picture[where].astype(int) - value).max(1)
    assert (contrast > 100).mean() > 0.1
    inner = changed[25:37, 30:42]  # each row and column of a period is crossed
    assert inner.any(0).all() and inner.any(1).all() and not inner.all()


def test_lines_of_parts_meet():
    whole, parts = np.zeros((H, W, 3), np.uint8), np.zeros((H, W, 3), np.uint8)
    hatch(whole, np.ones((H, W), bool), 0, 0, 2)
    for x0, x1 in ((0, 31), (31, W)):
        hatch(parts, np.ones((H, x1 - x0), bool), x0, 0, 2)
    assert np.array_equal(whole, parts)


def test_regions_of_targets_are_hatched_below_the_objects(monkeypatch):
    dense = torch.zeros(3, H, W, dtype=torch.bool)
    dense[0, 10:20, 10:20] = True
    dense[1] = True
    dense[1, :, :40] = False
    dense[2, 40:55, 50:70] = True
    masks = InstanceMasks.from_dense(dense)
    box_only = Targets(torch.tensor([[5.0, 30, 30, 55]]), torch.tensor([0]), None, torch.tensor([True]))
    targets = Targets.cat([
        Targets(masks.boxes(), torch.tensor([0, ALL_CLASSES, 0]), masks, torch.tensor([False, True, False])), box_only,
    ])  # fmt: skip
    image = np.full((H, W, 3), 90, np.uint8)
    legends = []
    monkeypatch.setattr(draw, "add_legend", lambda picture, entries, total: legends.append((entries, total)) or picture)
    picture = draw_detections(image, targets, ["cell"], scale=1, labels=False)
    changed = (picture != 90).any(2)
    assert changed[:, 41:].any() and changed[35:50, 10:25].any() and not changed[:9, :39].any()
    [(entries, total)] = legends
    assert total == 2 and [entry[:2] for entry in entries] == [("cell", 2), ("crowd", 1), ("not annotated", 1)]
    without = draw_detections(image, targets[[0, 2]], ["cell"], scale=1, labels=False)
    assert np.array_equal(picture[8:22, 8:22], without[8:22, 8:22])  # the first object looks as without regions
    assert not np.array_equal(picture[42:53, 52:68], without[42:53, 52:68])
    draw_detections(image, targets, ["cell"], color_by="class")
