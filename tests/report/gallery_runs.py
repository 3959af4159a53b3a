"""Finished runs on small images with touching objects, hostile names, crowd and ignore regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from segkit.data import Dataset
from segkit.engine.finished_run import FinishedRun
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.targets import ALL_CLASSES

EVIL = "</script><script>alert('x')</script>&\"\u2028" + 150 * "x"


class Cells(Dataset):
    """A grid of touching rectangles on each image; the first is a crowd region, the second an ignore region."""

    def __init__(self, count: int, grid: int = 4, cell: int = 12, channels: int = 3, dtype: torch.dtype = torch.uint8):
        self.classes, self.category_ids = [EVIL, "b"], [1, 2]
        self.image_ids = [10 + i for i in range(count)]
        self.grid, self.cell, self.channels, self.dtype = grid, cell, channels, dtype

    def load(self, index: int) -> Sample:
        side = self.grid * self.cell
        rows, columns = np.mgrid[:side, :side] // self.cell
        masks = InstanceMasks.from_label_map(rows * self.grid + columns + 1)
        labels = torch.arange(len(masks)) % 2
        crowd = torch.zeros(len(masks), dtype=torch.bool)
        crowd[:2], labels[1] = True, ALL_CLASSES
        pixels = torch.from_numpy(np.random.default_rng(index).random((self.channels, side, side), np.float32))
        image = (pixels * 255).to(torch.uint8) if self.dtype == torch.uint8 else pixels
        targets = Targets(masks.boxes(), labels, masks, crowd)
        return Sample(image, targets, self.image_ids[index], f"image{index}", (side, side))

    def label_counts(self, index: int) -> dict[int, int]:
        return {0: 1, 1: 1}

    def image_files(self) -> list[str]:
        return [f"/data/<b>image{i}</b> & {EVIL.replace('/', '')}.png" for i in range(len(self.image_ids))]


def make_cells_run(dataset: Cells, seed: int = 0, *, name: str = "run <i>A</i>") -> FinishedRun:
    """Detections that are right, missing, shifted, duplicated, of the wrong class, ignored, or on nothing, with ties."""
    results = {}
    for index, image_id in enumerate(dataset.image_ids):
        generator = np.random.default_rng([seed, index])
        targets = dataset.load(index).targets
        side = dataset.grid * dataset.cell
        rows = []
        for k in range(len(targets)):
            kind = generator.random()
            if kind < 0.15:
                continue
            shift = int(generator.integers(0, dataset.cell)) if kind > 0.6 else 0
            mask = targets.masks[k].crop(0, 0, side - shift, side).placed((side, side), shift, 0)
            if not len(mask.bits):
                continue
            x0, y0, x1, y1 = mask.boxes()[0].tolist()
            label = max(int(targets.labels[k]), 0)
            row = {
                "image_id": image_id,
                "category_id": 2 - label if kind < 0.3 else label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(np.float32(generator.choice([0.29, 0.3, 0.57, 0.58, generator.random()]))),
                "segmentation": mask.to_rle()[0],
            }
            rows += [row, dict(row, score=row["score"] / 2)] if generator.random() < 0.2 else [row]
        results[image_id] = rows
    return FinishedRun(name, Path(name), None, dataset, results)
