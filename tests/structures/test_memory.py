"""1,000 objects on an image of 4096 x 4096: nothing costs N x H x W (16 GB), nor an image for each object in turn."""

import importlib

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.structures import InstanceMasks, mask_targets, paste_masks, paste_rle, pasting
from segkit.structures.affine import affine_matrix

SIZE = (4096, 4096)
TARGETS = importlib.import_module("segkit.structures.mask_targets")  # hidden by the function of that name


class LargestTensor(TorchDispatchMode):
    """Records the bytes of the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel() * value.element_size())
        return result


@pytest.fixture(scope="module")
def masks(draw_cells):
    return draw_cells(1000, (1, 50), SIZE)


STEPS = {
    "hflip": lambda m: m.hflip(),
    "vflip": lambda m: m.vflip(),
    "rot90": lambda m: m.rot90(),
    "crop": lambda m: m.crop(1000, 1000, 3000, 3100),
    "resize": lambda m: m.resize((3000, 3001)),
    "affine": lambda m: m.affine(affine_matrix(SIZE, (3000, 3001), angle=30, scale=1.2), (3000, 3001)),
    "without": lambda m: m.without(torch.ones(SIZE, dtype=torch.bool)),
    "index": lambda m: m[torch.arange(1000).flip(0)],
    "areas": lambda m: m.areas(),
    "rle": lambda m: InstanceMasks.from_rle(m.to_rle()),
    "targets": lambda m: mask_targets(m, torch.arange(1000), m.boxes(), 28),
    "paste": lambda m: paste_masks(torch.ones(1000, 28, 28), m.boxes(), SIZE),
    "paste to RLE": lambda m: paste_rle(torch.ones(1000, 28, 28), m.boxes(), SIZE),
    "polygons": lambda m: InstanceMasks.from_polygons(
        [[[x, y, x, b, r, b, r, y]] for x, y, r, b in m.crop_boxes.tolist()], SIZE
    ),
}


@pytest.mark.parametrize("step", STEPS)
def test_no_dense_masks(masks, step, monkeypatch):
    seen = []
    for name in ("zeros", "empty", "ones", "full"):
        original = getattr(np, name)
        monkeypatch.setattr(
            np, name, lambda shape, *a, f=original, **k: (seen.append(int(np.prod(shape))), f(shape, *a, **k))[1]
        )
    with LargestTensor() as mode:
        STEPS[step](masks)
    assert mode.largest < 80 * 2**20, f"{mode.largest / 2**20:.0f} MB"
    assert max(seen, default=0) < 8 * masks.bits.numel()


def test_round_trip_and_label_map(masks):
    again = InstanceMasks.from_rle(masks.to_rle())
    assert torch.equal(again.crop_boxes, masks.crop_boxes) and torch.equal(again.bits, masks.bits)
    labels = np.zeros(SIZE, np.int32)
    for i, (crop, (x0, y0, x1, y1)) in enumerate(zip(masks.crops(), masks.crop_boxes.tolist(), strict=True)):
        labels[y0:y1, x0:x1][crop.numpy() > 0] = i + 1
    cut = InstanceMasks.from_label_map(labels)
    values = np.unique(labels)[1:]
    assert len(cut) == len(values)
    assert cut.areas().tolist() == np.bincount(labels.reshape(-1))[values].tolist()


def test_objects_as_large_as_the_image_are_pasted_in_strips():
    probs = (torch.rand(3, 28, 28) > 0.3).float()
    with LargestTensor() as mode:
        rles = paste_rle(probs, torch.tensor([[-9.0, -9, 4100, 4100]]).repeat(3, 1), SIZE)
    assert mode.largest < 10 * 2**20, f"{mode.largest / 2**20:.0f} MB"
    assert 2**22 < sum(InstanceMasks.from_rle(rles[:1]).areas().tolist()) < 2**24


def test_pasted_crops_are_filled_in_chunks(monkeypatch):
    filled, fill = [], pasting.fill_runs
    monkeypatch.setattr(pasting, "FILL_BUDGET", 1 << 16)
    monkeypatch.setattr(pasting, "fill_runs", lambda *args: filled.append(fill(*args)) or filled[-1])
    masks = paste_masks(torch.ones(30, 4, 4), torch.tensor([[10.0, 10, 110, 110]]).repeat(30, 1), (200, 200))
    assert masks.areas().unique().numel() == 1 and 9000 < int(masks.areas()[0]) <= 10000
    assert len(filled) > 3 and max(bits.size for bits, _ in filled) <= (1 << 16) + 10000


def test_targets_of_large_objects_are_made_in_chunks(monkeypatch):
    monkeypatch.setattr(TARGETS, "BUDGET", 1 << 15)
    masks = InstanceMasks(
        torch.ones(60 * 64 * 64, dtype=torch.uint8), torch.tensor([[0, 0, 64, 64]]).repeat(60, 1), (64, 64)
    )
    with LargestTensor() as mode:
        found = mask_targets(masks, torch.arange(60), masks.boxes(), 14)
    assert found.all() and found.shape == (60, 14, 14)
    assert mode.largest <= masks.bits.numel()  # looked at as a whole; in fp32 they would take four times that
