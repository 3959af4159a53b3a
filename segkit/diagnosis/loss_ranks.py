"""Objects whose loss stays high over the checkpoints of a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segkit.diagnosis.label_evidence import HIGH_LOSS, Evidence
from segkit.diagnosis.run_statistics import odds_score
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.utils.errors import SegkitError

HIGH_RANK = 0.9  # a loss is called high if it is above that of this share of the objects of its class


class LossRanks:
    """How high the loss of each object is among those of its class, in each checkpoint.

    Args:
        data: the objects.
        losses: by image id, float [R, G], see :func:`segkit.diagnosis.label_errors.find_label_errors`.
    Raises:
        SegkitError: losses of another number of checkpoints or of ground truth.
    """

    def __init__(self, data: DatasetOverlaps, losses: Mapping[int, np.ndarray]) -> None:
        parts = [self._of_image(image, losses) for image in data.images]
        self.checkpoints = max((len(part) for part in parts), default=0)
        if any(len(part) not in (0, self.checkpoints) for part in parts):
            raise SegkitError(
                "object_losses: images have losses of different numbers of checkpoints", key="object_losses"
            )
        counts = [len(image.object_ids) for image in data.images]
        self._start = {image.image_id: int(n) for image, n in zip(data.images, np.cumsum([0, *counts]), strict=False)}
        values = [
            part if len(part) else np.full((self.checkpoints, n), np.nan) for part, n in zip(parts, counts, strict=True)
        ]
        self.losses = np.concatenate([np.zeros((self.checkpoints, 0)), *values], axis=1)
        self.ranks = np.full(self.losses.shape, np.nan)
        self.usual = np.full(self.losses.shape, np.nan)
        labels = np.concatenate([np.zeros(0, np.int64), *(image.object_labels for image in data.images)])
        order = np.argsort(labels, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
            for k in range(self.checkpoints):
                known = rows[np.isfinite(self.losses[k, rows])]
                if len(known):
                    own = self.losses[k, known]
                    ordered = np.sort(own)
                    low, high = (np.searchsorted(ordered, own, side) for side in ("left", "right"))
                    self.ranks[k, known] = (low + high) / (2 * len(own))  # ties share their middle
                    self.usual[k, known] = np.median(own)

    @staticmethod
    def _of_image(image: ImageOverlaps, losses: Mapping[int, np.ndarray]) -> np.ndarray:
        """float64 [R, M] of the image's objects; [0, M] if its losses are unknown."""
        if image.image_id not in losses:
            return np.zeros((0, len(image.object_ids)))
        of_truth = np.asarray(losses[image.image_id], np.float64)
        if of_truth.ndim != 2 or of_truth.shape[1] <= image.object_ids.max(initial=-1):
            raise SegkitError(
                f"object_losses of the image {image.image_id} have shape {list(of_truth.shape)}; expected [checkpoints, "
                f"entries of the ground truth], at least {int(image.object_ids.max(initial=-1)) + 1} entries",
                key="object_losses",
            )
        return of_truth[:, image.object_ids]

    def evidence(self, image: ImageOverlaps) -> list[Evidence]:
        """How high the loss of each object of an image stays; objects without a loss are absent."""
        first, count = self._start[image.image_id], len(image.object_ids)
        losses, ranks, usual = (table[:, first : first + count] for table in (self.losses, self.ranks, self.usual))
        found = []
        for o in np.flatnonzero(np.isfinite(losses).any(axis=0)).tolist():
            known = np.isfinite(losses[:, o])
            loss, rank = float(np.median(losses[known, o])), float(np.median(ranks[known, o]))
            excess = max(0.0, loss - float(np.median(usual[known, o])))
            score = odds_score(1 - rank) * (1 - np.exp(-excess))
            high = int((ranks[known, o] >= HIGH_RANK).sum())
            found.append(Evidence(HIGH_LOSS, o, -1, float(score), (loss, rank, high, int(known.sum()))))
        return found
