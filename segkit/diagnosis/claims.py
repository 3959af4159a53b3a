"""The evidence of a model against annotations, weighed by how often it has some."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segkit.diagnosis.label_evidence import MISSING, Evidence, ImageEvidence
from segkit.diagnosis.run_statistics import FOUND_IOU, LEAST, WRONG, RunStatistics, odds_score
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps

SUREST = 0.1  # share of the detections with an annotation, those of the highest scores


class Claims:
    """The evidence of one model, weighed by how often the model claims such errors.

    Args:
        data: its overlaps.
        usual: what is usual for it.
    """

    def __init__(self, data: DatasetOverlaps, usual: RunStatistics) -> None:
        self._objects = max(sum(len(image.object_ids) for image in data.images), 1)
        self._sums: dict[str, float] = {}
        self._evidence: dict[int, list[Evidence]] = {}  # by image id, not weighed yet
        unannotated, annotated = [np.zeros(0)], [np.zeros(0)]  # scores
        for image in data.images:
            evidence = self._evidence[image.image_id] = list(ImageEvidence(image, usual).all())
            for one in evidence:
                self._sums[one.kind] = self._sums.get(one.kind, 0.0) + one.score
            unannotated.append(image.scores[[one.detection for one in evidence if one.kind == MISSING]])
            pairs = image.overlaps
            annotated.append(image.scores[np.unique(pairs.detections[pairs.ious >= FOUND_IOU])])
        self._missing = missing_share(np.concatenate(unannotated), np.concatenate(annotated))

    def of(self, image: ImageOverlaps) -> list[Evidence]:
        """The evidence about one image."""
        found = []
        for one in self._evidence[image.image_id]:
            others = max(self._sums[one.kind] - one.score, 0.5) / self._objects
            wrong = self._missing if one.kind == MISSING else WRONG
            found.append(replace(one, score=one.score * float(odds_score(others, wrong))))
        return found


def missing_share(unannotated: np.ndarray, annotated: np.ndarray) -> float:
    """The share of annotations that is assumed to be missing: at least ``WRONG``.

    It is the share of detections without an annotation among those that score as high as the highest tenth of the others.

    Args:
        unannotated: scores of the detections without an annotation, [U].
        annotated: scores of those with one, [A].
    """
    if SUREST * len(annotated) < LEAST:
        return WRONG
    surest = np.quantile(annotated, 1 - SUREST)
    without, known = int((unannotated >= surest).sum()), int((annotated >= surest).sum())
    return max(WRONG, without / (without + known))
