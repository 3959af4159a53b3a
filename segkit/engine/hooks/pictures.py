"""The hook that draws the pictures of the last evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from segkit.data.loader import TestLoader
from segkit.engine.pictures import draw_figures, draw_pictures, threshold_of_pictures
from segkit.engine.train_loop import Hook, TrainerBase
from segkit.evaluation.evaluator import PredictionPipeline
from segkit.utils import distributed


class Pictures(Hook):
    """Draws ground truth beside detections after the last step.

    The pictures are in ``inference/`` of the run's folder. The checkpoints are on the disk by then, and the writers,
    which come later, get the pictures.

    Args:
        loader: of the whole validation data, in its order.
        classes: name of each label.
        score_threshold: detections below it are not drawn; ``best``: below the trainer's best one of each class.
        pipeline: what a prediction does beside the model; None: nothing.
    """

    def __init__(
        self,
        loader: TestLoader,
        classes: Sequence[str],
        score_threshold: float | str,
        pipeline: PredictionPipeline | None = None,
    ) -> None:
        self.loader = loader
        self.classes = list(classes)
        self.score_threshold = score_threshold
        self.pipeline = pipeline

    def after_train(self, trainer: TrainerBase) -> None:
        if not distributed.is_main():
            return
        folder = trainer.output_dir / "inference"
        threshold = threshold_of_pictures(self.score_threshold, trainer.score_thresholds, trainer.model, self.classes)
        with trainer.ema_weights():
            trainer.pictures = draw_pictures(
                trainer.model,
                self.loader,
                self.classes,
                threshold,
                folder,
                context=trainer.autocast(),
                pipeline=self.pipeline,
            )
        draw_figures(folder)
