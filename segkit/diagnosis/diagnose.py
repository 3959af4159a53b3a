"""Finds out why a model fails: errors and their cost, what to change, and metrics of parts of the data."""

from __future__ import annotations

from collections.abc import Mapping

from segkit.diagnosis.cell_errors import cell_errors
from segkit.diagnosis.findings import Diagnosis
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.settings import ModelSettings
from segkit.diagnosis.slices import slices
from segkit.diagnosis.tide import tide_of_ranking
from segkit.evaluation.image_overlaps import DatasetOverlaps


def diagnose(
    data: DatasetOverlaps,
    settings: ModelSettings,
    *,
    score_threshold: float = 0.5,
    attributes: Mapping[int, Mapping[str, str]] | None = None,
) -> Diagnosis:
    """Returns what a model gets wrong on a data set, each kind of error with its cost in AP, the most costly first.

    Objects and detections are matched once, as COCO does.

    Args:
        data: overlaps of objects and detections, of masks or boxes.
        settings: of the model; errors are compared with those that are known.
        score_threshold: the one in use, from which detections are taken for objects.
        attributes: values by which images are divided, by image id; see :func:`image_attributes`.
    """
    table, matches = Ranking.of(data)
    return Diagnosis(
        table.ap,
        tide_of_ranking(table),
        cell_errors(table, settings, score_threshold=score_threshold),
        slices(data, matches, score_threshold=score_threshold, attributes=attributes),
    )
