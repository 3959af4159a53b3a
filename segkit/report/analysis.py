"""Everything that the report says about a run, computed from its detections and its files."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from segkit.diagnosis.findings import Diagnosis
from segkit.diagnosis.label_errors import LabelError
from segkit.engine.finished_run import FinishedRun
from segkit.evaluation.coco_matching import IouType
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.intervals import Interval
from segkit.evaluation.score_curves import Calibration, ConfusionMatrix, ScoreCurve
from segkit.report.metrics_lines import MetricsLines
from segkit.report.run_log import RunLog
from segkit.utils.errors import SegkitError, counted, first_few

logger = logging.getLogger(__name__)
MOST_LABEL_ERRORS = 1000  # that are counted; the page shows the first
DEFAULT_THRESHOLD = 0.5  # of detections where no best threshold is known
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How much work goes into a report.

    Attributes:
        images: images in each group of the gallery.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap and of what is drawn at random.
        checked_images: largest number of images of the data sets whose annotations are checked; 0: none.
        attributes: a CSV table of values by which metrics are divided, see
            :func:`~segkit.diagnosis.attributes.image_attributes`.
        measured_images: largest number of training images whose objects are measured; of more a random sample.
    """

    images: int = 12
    resamples: int = 1000
    seed: int = 0
    checked_images: int = 2000
    measured_images: int = 500
    attributes: str | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 0:
                raise SegkitError(f"{name} is {value}; expected 0 or more", key=name, value=value)


@dataclass(frozen=True)
class RunAnalysis:
    """One run, and what was computed of it.

    Attributes:
        run: its configuration, data and detections.
        label: its name on the page, different from those of the other runs.
        color: index of its colour.
        data: overlaps of masks, or of boxes without masks.
        lines: of ``metrics.json``.
        log: what ``log.txt`` says.
        metrics: of the evaluators, by name.
        intervals: bootstrap intervals, by name of the metric.
        curves: by score; the first is of all classes.
        calibration, confusion, diagnosis: None where they are absent.
        label_errors: found by all runs together; of the first run only.
        absent: by part, why it is absent.
    """

    run: FinishedRun
    label: str
    color: int
    data: DatasetOverlaps
    lines: MetricsLines
    log: RunLog
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    curves: Sequence[ScoreCurve]
    calibration: Calibration | None
    confusion: ConfusionMatrix | None
    diagnosis: Diagnosis | None
    label_errors: Sequence[LabelError] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def css(self) -> str:
        """The class of all lines of this run."""
        return f"r{self.color}"

    @property
    def iou_type(self) -> str:
        """What overlaps: ``segm`` or ``bbox``."""
        return self.data.iou_type

    @property
    def overlap(self) -> str:
        """What overlaps, as a word."""
        return "masks" if self.data.iou_type == "segm" else "boxes"

    @property
    def objects(self) -> int:
        """Number of objects in the ground truth."""
        return sum(len(image.object_labels) for image in self.data.images)

    @property
    def detections(self) -> int:
        """Number of detections, of any score."""
        return sum(len(image.scores) for image in self.data.images)

    @property
    def threshold(self) -> float:
        """The best score threshold for all classes; 0.5 if there is none.

        It has three decimals, rounded down, so that no detection that it keeps is lost.
        """
        best = self.curves[0].best_threshold if self.curves else None
        return DEFAULT_THRESHOLD if best is None else math.floor(1000 * best) / 1000


def common_iou_type(runs: Sequence[RunAnalysis]) -> IouType:
    """What all runs have: masks, or only boxes."""
    return "segm" if all(run.iou_type == "segm" for run in runs) else "bbox"


def part(absent: dict[str, str], name: str, compute: Callable[[], Result]) -> Result | None:
    """The result of ``compute``; None, with the reason in ``absent``, if it is impossible."""
    try:
        return compute()
    except SegkitError as error:
        absent[name] = str(error)
        return None


def labels_of(runs: Sequence[FinishedRun]) -> list[str]:
    """A different name for each run: that of its folder, with parents as far as needed."""
    names = [run.name for run in runs]
    for depth in range(2, 12):
        if len(set(names)) == len(names):
            return names
        paths = [run.path.resolve().parts for run in runs]
        names = [
            os.path.join(*parts[-depth:]) if names.count(name) > 1 else name
            for name, parts in zip(names, paths, strict=True)
        ]
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def check_same_data(runs: Sequence[RunAnalysis]) -> None:
    """Raises SegkitError if runs were evaluated on different images, objects or classes."""
    first = runs[0]
    for other in runs[1:]:
        if list(first.data.classes) != list(other.data.classes):
            raise SegkitError(
                f"the runs cannot stand side by side: {first.label} has the classes {first_few(first.data.classes)}, "
                f"{other.label} has {first_few(other.data.classes)}; make a report of each",
                value=other.label,
            )
        ids, other_ids = ([image.image_id for image in run.data.images] for run in (first, other))
        if ids != other_ids:
            common = len(set(ids) & set(other_ids))
            raise SegkitError(
                f"the runs cannot stand side by side: {first.label} is evaluated on {counted(len(ids), 'image')}, "
                f"{other.label} on {counted(len(other_ids), 'image')}, of which {common:,} are the same; make a report "
                "of each, or evaluate both on the same data",
                value=other.label,
            )
        pairs = zip(first.data.images, other.data.images, strict=True)
        changed = sum(not np.array_equal(one.object_labels, two.object_labels) for one, two in pairs)
        if first.iou_type == other.iou_type and changed:
            raise SegkitError(
                f"the runs cannot stand side by side: the objects of {counted(changed, 'image')} differ; {first.label} has "
                f"{first.objects:,} objects in all, {other.label} has {other.objects:,}. Evaluate both on the same annotations",
                value=other.label,
            )
