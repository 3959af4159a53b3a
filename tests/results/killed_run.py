"""A prediction that a test kills in its own process."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from segkit.results import CocoResultWriter, OverlayResultWriter
from segkit.results.prediction_run import PredictionRun
from segkit.structures.detections import Detections

CLASSES, IDS = ["one", "two"], [1, 4]


def slow_predictor(images, batch_size=1):
    """As many objects as the grey value of the upper left pixel says, after some milliseconds."""
    time.sleep(0.02)
    found = []
    for image in images:
        n = int(image[0, 0, 0])
        boxes = torch.tensor([[0.0, i, 2, i + 1] for i in range(n)]).reshape(-1, 4)
        labels = torch.arange(n) % 2
        found.append(Detections(boxes, torch.linspace(0.9, 0.5, n), labels, torch.ones(n, 4, 4), image.shape[1:]))
    return found


def predict(output: Path, inputs: dict[str, Path]) -> None:
    """Begins a prediction, or continues the one in the folder."""
    output.mkdir(exist_ok=True)

    def writers(parts):
        return [writer(output, CLASSES, IDS, parts) for writer in (CocoResultWriter, OverlayResultWriter)]

    run = PredictionRun(output, inputs, writers, {"weights": "model.pth"})
    if run.prepare(resume=True) is None:
        run.run(slow_predictor, resume=True)
