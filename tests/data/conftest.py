"""Small data sets on disk, and samples with known masks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.structures import InstanceMasks, Sample, Targets

sys.path.insert(0, str(Path(__file__).parent))  # for user_transforms.py


@pytest.fixture
def dense_masks():
    """bool [N, H, W]: overlapping, at the border, one pixel, the whole image, at each corner."""
    height, width = 61, 83
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    masks = torch.zeros(9, height, width, dtype=torch.bool)
    masks[0] = (y - 30) ** 2 + (x - 40) ** 2 < 200
    masks[1] = (y - 34) ** 2 + (x - 50) ** 2 < 150
    masks[2] = (abs(y - 10) + abs(x - 10)) < 9
    masks[3, 20, 70] = True
    masks[4] = True
    masks[5, :3, :4] = True
    masks[6, -5:, -7:] = True
    masks[7, 40:50, 0:12] = True
    masks[8, 55, 20:60] = True
    return masks


def sample_of(image, masks):
    together = InstanceMasks.from_dense(masks)
    targets = Targets(together.boxes(), torch.arange(len(masks)), together)
    annotations = [{"bbox": [0.0, 0.0, 1.0, 1.0]}]
    return Sample(image, targets, 7, "a.png", (61, 83), annotations)


@pytest.fixture
def mask_sample(dense_masks):
    """A sample whose image channels are its masks (0 or 255), and whose object i has label i, to compare both."""
    return sample_of(dense_masks.to(torch.uint8) * 255, dense_masks)


@pytest.fixture
def color_sample(dense_masks):
    """The same objects in an image of random colours."""
    generator = torch.Generator().manual_seed(0)
    return sample_of(torch.randint(0, 256, (3, 61, 83), generator=generator, dtype=torch.uint8), dense_masks)


@pytest.fixture
def label_map_root(tmp_path):
    """Three images; categories 1 and 3 (a gap); the last image has no objects."""
    rng = np.random.default_rng(0)
    root = tmp_path / "maps"
    for name in "abc":
        (root / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(root / name / "image.tif")
    first = np.zeros((20, 30), np.uint16)
    first[2:8, 3:9] = 5
    first[10:12, 20:29] = 60000
    Image.fromarray(first).save(root / "a" / "class1.tif")
    third = np.zeros((20, 30), np.float32)
    third[0, 0] = 2.0
    third[5:19, 5:10] = 1.0
    Image.fromarray(third).save(root / "a" / "class3.tif")
    Image.fromarray(first.astype(np.uint8)).save(root / "b" / "class1.tif")
    return root


@pytest.fixture
def coco_files(tmp_path):
    """A COCO data set as (write, content): ``write()`` saves the changed content and returns the arguments of Coco."""
    from pycocotools import mask as mask_util

    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("x.png", "sub/y.png", "z.png"):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(folder / name)
    dense = np.zeros((20, 30), np.uint8, order="F")
    dense[4:9, 6:16] = 1
    compressed = mask_util.encode(dense)
    compressed["counts"] = compressed["counts"].decode()
    uncompressed = {"size": [20, 30], "counts": [0, 5, 595]}
    two_polygons = [[1, 1, 9, 1, 9, 7, 1, 7], [12, 12, 15, 12, 15, 16]]
    line, triangle = [1, 1, 2, 2], [3, 3, 9, 3, 9, 9]
    content = {
        "images": [
            {"id": 10, "file_name": "x.png", "height": 20, "width": 30},
            {"id": 4, "file_name": "sub/y.png", "height": 20, "width": 30},
            {"id": 6, "file_name": "z.png", "height": 20, "width": 30},
        ],
        "categories": [{"id": 9, "name": "cell"}, {"id": 2, "name": "dust"}],
        "annotations": [
            {"image_id": 10, "category_id": 9, "bbox": [6, 4, 10, 5], "area": 49.5, "segmentation": compressed},
            {"image_id": 10, "category_id": 2, "segmentation": two_polygons},
            {"image_id": 10, "category_id": 9, "iscrowd": 1, "segmentation": uncompressed, "bbox": [0, 0, 1, 5]},
            {"image_id": 4, "category_id": 9, "segmentation": [line, triangle], "bbox": [3, 3, 6, 6]},
            {"image_id": 4, "category_id": 9, "segmentation": [line], "bbox": [1, 1, 1, 1]},
            {"image_id": 4, "category_id": 2, "bbox": [1, 1, 0, 4]},
        ],
    }

    def write(**changes):
        file = tmp_path / "instances.json"
        file.write_text(json.dumps({**content, **changes}))
        return {"json": str(file), "images": str(folder)}

    return write, content
