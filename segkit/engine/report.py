"""What a run tells about its model: a table of parameters, pictures of validation images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tabulate import tabulate
from torch import nn

from segkit.data.transforms.geometry import without_degenerate
from segkit.evaluation.validation_losses import predict_batch
from segkit.modeling.modes import evaluation_mode
from segkit.utils.images import write_image
from segkit.utils.logging import failure_warned
from segkit.utils.paths.file_names import unique_stems
from segkit.visualization.draw import draw_detections

if TYPE_CHECKING:
    from segkit.data.loader import TestLoader
    from segkit.structures.detections import Detections

logger = logging.getLogger(__name__)


def parameter_table(model: nn.Module) -> str:
    """Parameters of each part of the model, all and those that train."""
    rows = [(name, *count_parameters(part)) for name, part in model.named_children() if count_parameters(part)[0]]
    rows.append(("total", *count_parameters(model)))
    shown = [(name, f"{total:,}", f"{trainable:,}") for name, total, trainable in rows]
    return tabulate(shown, headers=["part", "parameters", "trainable"], colalign=("left", "right", "right"))


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """All parameters and the trainable ones, each counted once."""
    parameters = list(module.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def draw_pictures(
    model: nn.Module,
    loader: TestLoader,
    classes: Sequence[str],
    score_threshold: float,
    folder: Path,
    *,
    count: int = 8,
    context: Any,
) -> list[Path]:
    """Pictures of the first ``count`` images of a loader, ground truth on the left and detections on the right.

    They show the files' own pixels and size: what test transforms make for the network may be inverted or tiny.
    A failure is a warning: a run does not lose its results for its pictures.

    Args:
        loader: of a whole data set, in its order.
        classes: name of each label; a class-agnostic model's detections are called ``object``.
        score_threshold: detections below it are left out.
        folder: gets a PNG an image, named after its file.
        context: autocast, or a null context.
    Returns:
        what was written.
    """
    with failure_warned("the pictures of the evaluation"):
        return _draw_pictures(model, loader, classes, score_threshold, folder, count, context)
    return []


def _draw_pictures(
    model: nn.Module,
    loader: TestLoader,
    classes: Sequence[str],
    score_threshold: float,
    folder: Path,
    count: int,
    context: Any,
) -> list[Path]:
    seen_classes = ["object"] if getattr(model, "class_agnostic", False) else classes
    found: list[Detections] = []
    with evaluation_mode(model), torch.inference_mode(), context:
        for batch in loader:
            found += [detections.to("cpu") for detections in predict_batch(model, batch, None)]
            if len(found) >= count:
                break
    pictures: list[tuple[str, np.ndarray]] = []
    for index, detections in enumerate(found[:count]):
        sample = without_degenerate(loader.dataset.load(index))
        truth = draw_detections(sample.image, sample.targets, classes)
        shown = detections[detections.scores >= score_threshold]
        pictures.append((sample.file_name, side_by_side(truth, draw_detections(sample.image, shown, seen_classes))))
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.png"):  # an earlier evaluation's, maybe of other images
        stale.unlink()
    written = [folder / f"{name}.png" for name in unique_stems([name for name, _ in pictures])]
    for path, (_, picture) in zip(written, pictures, strict=True):
        write_image(path, picture)
    return written


def side_by_side(left: np.ndarray, right: np.ndarray, gap: int = 8) -> np.ndarray:
    """Two pictures [H_i, W_i, 3] next to each other on white, tops in line."""
    height = max(len(left), len(right))
    width = left.shape[1] + gap + right.shape[1]
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    picture[: len(left), : left.shape[1]] = left
    picture[: len(right), left.shape[1] + gap :] = right
    return picture
