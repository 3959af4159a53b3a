"""A run that has been evaluated: its configuration, metrics, ground truth and detections."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from segkit.config.loader import load_config
from segkit.config.schema import Config
from segkit.data.formats.base import Dataset
from segkit.engine.checkpoint import METRICS
from segkit.engine.datasets import build_data
from segkit.engine.recognized_data import with_recognized_data
from segkit.evaluation.build import build_from_specs
from segkit.evaluation.coco import RESULTS_NAME
from segkit.evaluation.coco_matching import IouType
from segkit.evaluation.evaluator import Evaluator
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.evaluation.predictions import evaluate_predictions
from segkit.evaluation.result_files import read_predictions, read_results
from segkit.registry import META_ARCH_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.paths import local_path

logger = logging.getLogger(__name__)
LEAST_DETECTIONS = 100  # COCO's limit per image; results with more in an image are evaluated with all of them


@dataclass(frozen=True)
class FinishedRun:
    """The detections of a model on a data set, and how the model came about.

    Attributes:
        name: of the run's folder, or of the results file.
        path: the folder, or the file.
        config: the run's; None for a results file.
        dataset: the ground truth, of the validation split.
        results: COCO results of each image, by image id; an image without detections is absent.
        metrics: the lines of ``metrics.json``, in the order of their iterations; empty without.
        class_agnostic: whether the detections have no class, because the model predicts none.
        evaluators: specs of the configuration's evaluators, or of those that the data of a results file name.
    """

    name: str
    path: Path
    config: Config | None
    dataset: Dataset
    results: Mapping[int, Sequence[Mapping[str, Any]]]
    metrics: Sequence[Mapping[str, Any]] = ()
    class_agnostic: bool = False
    evaluators: Sequence[Mapping[str, Any]] = ()
    _overlaps: dict[IouType, DatasetOverlaps] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def has_masks(self) -> bool:
        """Whether the results have masks; true without any result."""
        listed = [one for found in self.results.values() for one in found]
        return not listed or any(one.get("segmentation") is not None for one in listed)

    @property
    def iou_types(self) -> list[IouType]:
        """What can be evaluated: boxes, and masks if there are any."""
        return ["bbox", "segm"] if self.has_masks else ["bbox"]

    @property
    def max_detections(self) -> int:
        """The most detections in an image, at least COCO's 100."""
        return max([LEAST_DETECTIONS, *map(len, self.results.values())])

    def overlaps(self, iou_type: IouType | None = None) -> DatasetOverlaps:
        """Computes the overlaps of objects and detections once.

        Args:
            iou_type: masks or boxes; None: masks if the results have any.
        """
        kind: IouType = iou_type or ("segm" if self.has_masks else "bbox")
        if kind not in self._overlaps:
            self._evaluate((), kind)
        return self._overlaps[kind]

    def evaluate(self, specs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Computes metrics, and the overlaps in the same pass over the images if they are unknown.

        Args:
            specs: of evaluators, as in a configuration's ``evaluators``.
        """
        built = build_from_specs(
            specs,
            classes=self.dataset.classes,
            category_ids=self.dataset.category_ids,
            max_detections=self.max_detections,
            class_agnostic=self.class_agnostic,
            predicts_masks=self.has_masks,
            frequencies=self.dataset.frequencies,
        )
        kind: IouType = "segm" if self.has_masks else "bbox"
        return self._evaluate(built, None if kind in self._overlaps else kind)

    def _evaluate(self, evaluators: Sequence[Evaluator], kind: IouType | None) -> dict[str, float]:
        """Computes metrics, and the overlaps of a kind."""
        collector = None
        if kind is not None:
            collector = _Collector(
                self.dataset.classes, self.max_detections, self.class_agnostic, self.has_masks, iou_type=kind
            )
        listed = [one for found in self.results.values() for one in found]
        added = [] if collector is None else [collector]
        metrics = evaluate_predictions(listed, self.dataset, [*evaluators, *added])
        if collector is not None and kind is not None:
            self._overlaps[kind] = collector.data
        return metrics

    def ground_truth(self, image_id: int) -> list[dict[str, Any]]:
        """Returns an image's ground truth, as evaluators get it.

        The ``object`` of an example is a position in it.
        """
        index = self._index_of[image_id]
        return self.dataset.ground_truth(index, self.dataset.open(index).with_targets()) or []

    @cached_property
    def _index_of(self) -> dict[int, int]:
        return {image_id: index for index, image_id in enumerate(self.dataset.image_ids)}


class _Collector(OverlapEvaluator):
    def metrics(self, data: DatasetOverlaps) -> dict[str, float]:
        return {}


def open_finished_run(path: str | os.PathLike[str]) -> FinishedRun:
    """Opens the folder of a run that has been evaluated.

    Raises:
        SegkitError: it is no folder of a run, it has not been evaluated yet, or its data cannot be opened.
    """
    config = run_config(path)
    return _open(load_config(config), config.parent, config)


def run_config(path: str | os.PathLike[str]) -> Path:
    """Returns the configuration in the folder of a run.

    Raises:
        SegkitError: it is no folder of a run; the message lists the runs in it.
    """
    folder = local_path(os.fspath(path), "run", kind="folder")
    config = folder / "config.yaml"
    if not config.is_file():
        runs = sorted(str(found.parent) for found in folder.glob("*/config.yaml"))
        hint = f"; it holds the runs {', '.join(runs[:5])}" if runs else ""
        raise SegkitError(f"{folder} is no run: it has no config.yaml{hint}", value=str(folder))
    return config


def evaluated_run(cfg: Config) -> FinishedRun:
    """Opens the results that an evaluation with ``cfg`` has written to its ``output_dir``.

    Unlike :func:`open_finished_run` it takes the data from ``cfg``, which the folder's configuration may not name.

    Raises:
        SegkitError: nothing has been evaluated there, or its data cannot be opened.
    """
    folder = Path(cfg.output_dir)
    return _open(cfg, folder, folder / "config.yaml")


def _open(cfg: Config, folder: Path, config: Path) -> FinishedRun:
    results = folder / "inference" / RESULTS_NAME
    if not results.is_file():
        raise SegkitError(
            f"{folder} has not been evaluated: it has no inference/{RESULTS_NAME}; segkit eval --config-file {config} "
            f"output_dir={folder} makes it",
            value=str(folder),
        )
    cfg = with_recognized_data(cfg)
    dataset = build_data(cfg, eval_only=True).val
    assert dataset is not None  # build_data raises without data.val
    agnostic = META_ARCH_REGISTRY.get(cfg.model["name"]).class_agnostic
    return FinishedRun(
        name=folder.resolve().name,
        path=folder,
        config=cfg,
        dataset=dataset,
        results=_by_image(read_results(results)),
        metrics=_metrics(folder / METRICS),
        class_agnostic=agnostic,
        evaluators=cfg.evaluators,
    )


def finished_run(
    name: str,
    results: str | os.PathLike[str],
    dataset: Dataset,
    evaluators: Sequence[Mapping[str, Any]] = (),
    *,
    class_agnostic: bool = False,
) -> FinishedRun:
    """Makes a run of a file of predictions, as for ``segkit eval``, and its ground truth.

    Args:
        name: of the run.
        results: the file.
        dataset: its ground truth.
        evaluators: specs of further metrics than COCO's and those of cells.
        class_agnostic: whether the model that made them predicts no classes.
    """
    found = _by_image(read_predictions(results, dataset))
    return FinishedRun(name, Path(results), None, dataset, found, class_agnostic=class_agnostic, evaluators=evaluators)


def _by_image(results: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for one in results:
        found.setdefault(one["image_id"], []).append(one)
    return found


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.json``; a line that a kill cut off is skipped."""
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            logger.warning("%s: a line that is no JSON is skipped", path)
    return lines
