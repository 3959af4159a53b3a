"""Predicted images made by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from segkit.inference.predicted_image import PredictedImage
from segkit.structures.detections import Detections

sys.path.insert(0, str(Path(__file__).parent))  # for masked_images.py


def predicted(name: str, size: tuple[int, int], count: int = 2) -> PredictedImage:
    """Whole-box masks, so that the RLE's box is the detection's; of 0 to 2 objects, a grey image."""
    boxes = torch.tensor([[1.0, 2.0, 5.0, 8.0], [3.0, 0.0, 6.0, 4.0]])[:count]
    found = Detections(
        boxes, torch.tensor([0.9, 0.6])[:count], torch.tensor([1, 0])[:count], torch.ones(count, 28, 28), size
    )
    image = torch.full((3, *size), 100, dtype=torch.uint8)
    stem = name.replace("/", "__").rpartition(".")[0] or name
    return PredictedImage(name, stem, found, image, array=image.permute(1, 2, 0).numpy())


@pytest.fixture
def predict():
    """Makes an image of a name and size (H, W) with up to two detections."""
    return predicted
