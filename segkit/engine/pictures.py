"""Pictures of validation images: ground truth beside the model's detections."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit.data.loader import TestLoader
from segkit.data.transforms.geometry import without_degenerate
from segkit.evaluation.evaluator import PredictionPipeline
from segkit.evaluation.precision_recall import PrecisionRecall, file_name
from segkit.evaluation.validation_losses import predict_batch
from segkit.modeling.modes import evaluation_mode
from segkit.structures.detections import Detections
from segkit.structures.score_thresholds import ScoreThresholds, above_threshold, resolve_threshold
from segkit.utils.images import write_image
from segkit.utils.logging import failure_warned
from segkit.utils.paths.file_names import unique_stems
from segkit.visualization.draw import draw_detections

logger = logging.getLogger(__name__)
FIGURES = {file_name("segm", True): "figures", file_name("bbox", True): "figures/bbox"}
PICTURES_OTHERWISE = 0.5  # score threshold of pictures where no best one is known


def draw_pictures(
    model: nn.Module,
    loader: TestLoader,
    classes: Sequence[str],
    score_threshold: float | Tensor,
    folder: Path,
    *,
    count: int = 8,
    context: Any,
    pipeline: PredictionPipeline | None = None,
) -> list[Path]:
    """Draws the first ``count`` images of a loader: ground truth left, detections right.

    The pictures have the files' own pixels and size, not those of the test transforms, which may be inverted or tiny.
    A failure is a warning: a run does not lose its results for its pictures.

    Args:
        model: predicts; its mode is restored afterwards.
        loader: of a whole data set, in its order.
        classes: name of each label; a class-agnostic model's detections are called ``object``.
        score_threshold: detections below it are not drawn; one score, or one of each label [K].
        folder: gets one PNG for each image, named after the image's file; other PNGs in it are deleted.
        count: number of images at most.
        context: autocast, or a null context.
        pipeline: what a prediction does beside the model; None: nothing.
    Returns:
        The paths of the pictures.
    """
    with failure_warned("the pictures of the evaluation"):
        return _draw_pictures(model, loader, classes, score_threshold, folder, count, context, pipeline)
    return []


def threshold_of_pictures(
    setting: float | str, best: ScoreThresholds | None, model: nn.Module, classes: Sequence[str]
) -> float | Tensor:
    """Returns the threshold of the detections that are drawn: a score, or one of each label [K].

    Where no best one is known, as after an evaluation without a detection, it is 0.5, with a warning.
    """
    if isinstance(setting, str) and best is None:
        logger.warning(
            "predict.score_threshold: %s: the evaluation has found no best score thresholds (its evaluators have no "
            "PrecisionRecall, or there are no objects or no detections), so the pictures show scores of at least %g",
            setting, PICTURES_OTHERWISE,
        )  # fmt: skip
        return PICTURES_OTHERWISE
    agnostic = getattr(model, "class_agnostic", False)
    return resolve_threshold(setting, best, ["object"] if agnostic else classes, "the evaluation")


def remove_stale_curves(folder: Path, evaluators: Sequence[Any]) -> None:
    """Removes an earlier evaluation's curves that these evaluators have not written again."""
    written = {evaluator.file for evaluator in evaluators if isinstance(evaluator, PrecisionRecall)}
    for name, figures in FIGURES.items():
        if (folder / name).is_file() and folder / name not in written:
            (folder / name).unlink()
            for figure in (folder / figures).glob("*.*"):
                figure.unlink()
            logger.info("removed %s and its figures, which are of an earlier evaluation", folder / name)


def draw_figures(folder: Path) -> list[Path]:
    """Draws the figures of a folder's ``precision_recall.json``, as PNG and SVG files.

    They are in its ``figures/``, and those of ``precision_recall_bbox.json`` in ``figures/bbox/``. A failure is a warning.
    Without these files nothing is drawn.
    """
    drawn: list[Path] = []
    for name, figures in FIGURES.items():
        if not (folder / name).is_file():
            continue
        from segkit.visualization.evaluation_figures import draw_evaluation_figures  # matplotlib is slow to import

        with failure_warned("the figures of the evaluation"):
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            drawn += draw_evaluation_figures(content, folder / figures)
    return drawn


def _draw_pictures(
    model: nn.Module,
    loader: TestLoader,
    classes: Sequence[str],
    score_threshold: float | Tensor,
    folder: Path,
    count: int,
    context: Any,
    pipeline: PredictionPipeline | None,
) -> list[Path]:
    seen_classes = ["object"] if getattr(model, "class_agnostic", False) else classes
    found: list[Detections] = []
    with evaluation_mode(model), torch.inference_mode(), context:
        for batch in loader:
            if pipeline is None:
                predicted = predict_batch(model, batch, None)
            else:
                predicted = [pipeline.postprocess(one) for one in pipeline.predict_batch(batch)]
            found += [detections.to("cpu") for detections in predicted]
            if len(found) >= count:
                break
    pictures: list[tuple[str, np.ndarray]] = []
    for index, detections in enumerate(found[:count]):
        sample = without_degenerate(loader.dataset.load(index))
        truth = draw_detections(sample.image, sample.targets, classes)
        shown = above_threshold(detections, score_threshold)
        pictures.append((sample.file_name, side_by_side(truth, draw_detections(sample.image, shown, seen_classes))))
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.png"):  # of an earlier evaluation, maybe with other images
        stale.unlink()
    written = [folder / f"{name}.png" for name in unique_stems([name for name, _ in pictures])]
    for path, (_, picture) in zip(written, pictures, strict=True):
        write_image(path, picture)
    return written


def side_by_side(left: np.ndarray, right: np.ndarray, gap: int = 8) -> np.ndarray:
    """Returns two pictures uint8 [H_i, W_i, 3] next to each other on white, aligned at the top."""
    height = max(len(left), len(right))
    width = left.shape[1] + gap + right.shape[1]
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    picture[: len(left), : left.shape[1]] = left
    picture[: len(right), left.shape[1] + gap :] = right
    return picture
