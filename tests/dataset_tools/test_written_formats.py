"""Clean data are clean in every format that can be written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stand_in_writer import StandInWriter

from segkit.data.writers.base import WritableImage
from segkit.dataset_tools.check import check_dataset
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.utils.images import write_image

if "coco" not in DATASET_WRITER_REGISTRY:
    DATASET_WRITER_REGISTRY.register(StandInWriter, name="coco")


def sample(index):
    dense = torch.zeros(3, 48, 64, dtype=torch.bool)
    dense[0, 5:20, 4:20], dense[1, 5:20, 25:40], dense[2, 25:44, 10 : 30 + index] = True, True, True
    masks = InstanceMasks.from_dense(dense)
    image = torch.from_numpy(np.random.default_rng(index).integers(0, 256, (3, 48, 64), dtype=np.uint8))
    targets = Targets(masks.boxes(), torch.tensor([0, 1, 0]), masks)
    return Sample(image, targets, index + 1, f"{index}.png", (48, 64), None)


@pytest.mark.parametrize("format", DATASET_WRITER_REGISTRY.names())
def test_clean_data_in_every_format(tmp_path, format):
    output = tmp_path / "written"
    output.mkdir()
    with DATASET_WRITER_REGISTRY.build(
        {"format": format}, output=output, classes=["cell", "nucleus"], category_ids=[1, 2]
    ) as writer:
        for i in range(6):
            one, split = sample(i), "train" if i < 4 else "val"
            file = tmp_path / f"{i}.png"
            write_image(file, one.image.permute(1, 2, 0).numpy())
            writer.write(WritableImage(file.name, i + 1, one.size, one.targets, split, file, one))
    report = check_dataset(output, workers=0)
    assert report.ok, [fault for fault in report.faults if fault.severity == "error"]
    assert sum(split.images for split in report.splits.values()) == 6
    assert sum(split.objects for split in report.splits.values()) == 18
