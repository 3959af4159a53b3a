"""Writes the submission of a test folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from segkit.data.formats.id_map import ImageEntry
from segkit.evaluation.submission import SubmissionWriter
from segkit.evaluation.submission_check import SubmissionSummary
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles

LINES = "submission"


@RESULT_WRITER_REGISTRY.register(name="submission")
class SubmissionResultWriter(ResultWriter):
    """Writes ``test-results.json`` and ``test-results.zip`` of the images that an id map lists.

    :meth:`close` holds the results of these images in memory, as their check does.

    Args:
        output, classes, category_ids, parts: as of every writer.
        id_map: the result of :func:`segkit.data.formats.id_map.load_id_map`.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        id_map: Sequence[ImageEntry] = (),
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        self._writer = SubmissionWriter(output, id_map, category_ids)

    @property
    def summary(self) -> SubmissionSummary | None:
        """What the check of the written files found; None before :meth:`close`."""
        return self._writer.summary

    def add(self, image: PredictedImage) -> None:
        results = self._writer.results_of(image.name, image.detections)
        self.parts.append(LINES, json.dumps([image.name, results]))

    def close(self) -> list[Path]:
        for line in self.parts.lines(LINES):
            self._writer.add_results(*json.loads(line))
        return self._writer.close()
