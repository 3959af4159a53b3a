"""Differences of variants over the images of both, by the paired bootstrap."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from segkit.diagnosis.comparison import RunGroup, compare_runs
from segkit.engine.finished_run import open_finished_run
from segkit.evaluation.coco_matching import IouType
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.study.plan import PlannedRun
from segkit.study.statistics import Difference
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
# Metrics that are computed again from the detections; those at a score from the detections that reach it.
METRIC = re.compile(r"(?P<kind>segm|bbox)/(?P<name>AP|AP50|AP75|APs|APm|APl|AR|AP-[^@]*)(@score(?P<score>[\d.]+))?")


class ImageComparer:
    """Compares evaluated runs over their images; reads each run once.

    Args:
        resamples: of the bootstrap.
    """

    def __init__(self, resamples: int = 1000) -> None:
        self.resamples = resamples
        self._overlaps: dict[tuple[Path, str, float], DatasetOverlaps] = {}
        self._warned: set[str] = set()

    def __call__(self, runs: Sequence[PlannedRun], baseline: Sequence[PlannedRun], metric: str) -> Difference | None:
        """Returns the difference with its interval over images, and over seeds if there are several.

        None, after a warning, if the metric is not one of COCO's, or if a run's results cannot be read or compared.

        Args:
            runs: finished runs of a variant, one for each seed.
            baseline: those of the baseline.
            metric: as in the tables.
        """
        found = METRIC.fullmatch(metric)
        if found is None:
            self._warn(f"{metric} is not computed over resamples of images, so it has no interval over them")
            return None
        kind: IouType = "segm" if found["kind"] == "segm" else "bbox"
        name = f"{kind}/{found['name']}"
        try:
            groups = [
                RunGroup(label, {run.name: self._read(run.folder, kind, float(found["score"] or 0)) for run in side})
                for label, side in (("baseline", baseline), ("variant", runs))
            ]
            compared = compare_runs(groups, metrics=[name], resamples=self.resamples, cells_threshold=None)
        except SegkitError as error:
            self._warn(f"no interval over images: {error}")
            return None
        (one,) = compared.differences
        return Difference(one.interval.value, one.interval.low, one.interval.high, one.images, "images")

    def _read(self, folder: Path, kind: IouType, score: float) -> DatasetOverlaps:
        key = folder, kind, score
        if key not in self._overlaps:
            run = open_finished_run(folder)
            kept = {image: [one for one in found if one["score"] >= score] for image, found in run.results.items()}
            self._overlaps[key] = dataclasses.replace(run, results=kept, _overlaps={}).overlaps(kind)
        return self._overlaps[key]

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning("%s", text)
