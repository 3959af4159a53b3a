"""A finished run's model and one split of its data: predictions, and the losses of objects."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from segkit.config.loader import load_config
from segkit.config.schema import Config
from segkit.data import Dataset, build_test_loader, build_transforms
from segkit.data.loader import TestLoader
from segkit.engine.amp import autocast
from segkit.engine.build import prepare_model
from segkit.engine.checkpoint import find_last_checkpoint
from segkit.engine.datasets import build_data
from segkit.engine.finished_run import FinishedRun, run_config
from segkit.engine.recognized_data import with_recognized_data
from segkit.evaluation.evaluator import evaluate
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.evaluation.results import coco_results
from segkit.inference.pipeline import build_pipeline, evaluation_transforms
from segkit.modeling.weights.loading import load_checkpoint
from segkit.modeling.weights.reading import checkpoint_content
from segkit.structures.detections import Detections
from segkit.structures.object_sides import ObjectSides, saved_object_sides
from segkit.structures.sample import Batch
from segkit.utils.device import choose_device
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.paths import local_path

logger = logging.getLogger(__name__)
Split = Literal["train", "val"]
Progress = Callable[[Iterable[Batch], int, str], Iterable[Batch]]


@dataclass(frozen=True)
class RunSplit:
    """The model of a run and one split of its data, without the transforms of the training.

    Attributes:
        folder: of the run.
        config: the run's.
        split: ``train`` or ``val``.
        dataset: the images of the split.
        model: on ``device``, without trained weights.
        device: where the model is.
    """

    folder: Path
    config: Config
    split: Split
    dataset: Dataset
    model: nn.Module
    device: torch.device

    def loader(self, dataset: Dataset | None = None, *, opened: bool = False) -> TestLoader:
        """The images with the transforms of the evaluation; None: those of the split.

        ``opened``: without transforms if a pipeline replaces the model.
        """
        transforms = build_transforms(self.config.data.test_transforms, path="data.test_transforms")
        return build_test_loader(
            self.dataset if dataset is None else dataset,
            evaluation_transforms(self.config) if opened else transforms,
            batch_size=self.config.data.test_batch_size,
            num_workers=self.config.data.num_workers,
            pin_memory=self.device.type == "cuda",
        )

    def load(self, checkpoint: str | os.PathLike[str]) -> ObjectSides | None:
        """Loads the model's weights; returns the training objects' sides, if they are saved.

        Raises:
            SegkitError: there is no such checkpoint, or it is of another model or other classes.
        """
        path = str(local_path(os.fspath(checkpoint), "checkpoint", kind="file"))
        content = checkpoint_content(path)
        load_checkpoint(self.model, path, content=content)
        return saved_object_sides(content)

    @property
    def context(self) -> Any:
        """The precision of the training; fp32 in place of fp16 on a CPU."""
        precision = self.config.train.precision
        return autocast("fp32" if precision == "fp16" and self.device.type == "cpu" else precision, self.device)

    def predict(
        self, checkpoint: str | os.PathLike[str], results: Path, progress: Progress | None = None
    ) -> FinishedRun:
        """Predicts all images; neither masks nor results stay in memory.

        Args:
            checkpoint: the weights.
            results: a file for the detections, one line an image, which the returned run reads as long as it lives.
            progress: wraps the batches; called with them, their number and a title.
        """
        sides = self.load(checkpoint)
        agnostic = bool(getattr(self.model, "class_agnostic", False))
        with open(results, "wb") as stream:
            recorder = _Recorder(
                self.dataset,
                int(getattr(self.model, "detections_per_image", 100)),
                agnostic,
                bool(getattr(self.model, "predicts_masks", True)),
                stream,
            )
            batches = watched(self.loader(opened=True), f"batches predicted with {Path(checkpoint).name}", progress)
            pipeline = build_pipeline(self.config, self.model, object_sides=sides)
            evaluate(self.model, batches, [recorder], self.device, self.context, losses=False, pipeline=pipeline)
        stored = StoredResults(results, recorder.offsets)
        overlaps = {recorder.iou_type: recorder.data}
        return FinishedRun(
            self.folder.resolve().name,
            self.folder,
            self.config,
            self.dataset,
            stored,
            class_agnostic=agnostic,
            _overlaps=overlaps,
        )


class StoredResults(Mapping[int, Sequence[Mapping[str, Any]]]):
    """COCO results of each image, in a file of one line an image.

    Args:
        path: the file.
        offsets: where the line of each image id begins.
    """

    def __init__(self, path: Path, offsets: Mapping[int, int]) -> None:
        self._path, self._offsets = path, dict(offsets)

    def __getitem__(self, image_id: int) -> Sequence[Mapping[str, Any]]:
        with open(self._path, "rb") as stream:
            stream.seek(self._offsets[image_id])
            found: list[dict[str, Any]] = json.loads(stream.readline())
            return found

    def __iter__(self) -> Iterator[int]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)


class _Recorder(OverlapEvaluator):
    """Keeps overlaps in memory, and writes the detections to a stream."""

    def __init__(
        self, dataset: Dataset, max_detections: int, class_agnostic: bool, predicts_masks: bool, stream: Any
    ) -> None:
        super().__init__(dataset.classes, max_detections, class_agnostic, predicts_masks)
        self.offsets: dict[int, int] = {}
        self._category_ids, self._stream = list(dataset.category_ids), stream

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        super().process(batch, detections)
        for image_id, found in zip(batch.image_ids, detections, strict=True):
            self.offsets[image_id] = self._stream.tell()
            lines = json.dumps(coco_results(found, image_id, self._category_ids))
            self._stream.write(lines.encode() + b"\n")

    def metrics(self, data: Any) -> dict[str, float]:
        return {}


def watched(loader: TestLoader, title: str, progress: Progress | None) -> Iterable[Batch]:
    """The batches of a loader, with a line about how far they are if ``progress`` is set."""
    return loader if progress is None else progress(loader, len(loader), title)


def open_run_split(path: str | os.PathLike[str], split: str = "val", device: str | None = None) -> RunSplit:
    """Opens the model and one split of the data of a run, which need not have been evaluated.

    Raises:
        SegkitError: it is no folder of a run, the run has no such split, or its data cannot be opened.
    """
    config = run_config(path)
    if split not in ("train", "val"):
        raise SegkitError(f"split is '{split}'{did_you_mean(split, ['train', 'val'])}", key="split", value=split)
    cfg = with_recognized_data(load_config(config))
    data = build_data(cfg, eval_only=split == "val")
    dataset = data.train if split == "train" else data.val
    assert dataset is not None  # build_data raises without it
    chosen = choose_device(cfg.train.device if device is None else device, key="device")
    model = prepare_model(cfg, data, chosen, initialize=False)
    return RunSplit(config.parent, cfg, "train" if split == "train" else "val", dataset, model, chosen)


def best_checkpoint(folder: Path) -> Path:
    """The best checkpoint of a run, else its final or last one.

    Raises:
        SegkitError: the run has none.
    """
    for path in (folder / "model_best.pth", folder / "model_final.pth", find_last_checkpoint(folder)):
        if path is not None and path.is_file():
            return path
    raise SegkitError(
        f"{folder} has no checkpoint, as model_final.pth; name one with --weights FILE", value=str(folder)
    )


def kept_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run in the order of the training; the best one without others."""
    periodic = sorted(path for path in folder.glob("model_*.pth") if path.stem.removeprefix("model_").isdigit())
    final = folder / "model_final.pth"
    return [*periodic, *([final] if final.is_file() else [])] or [best_checkpoint(folder)]
