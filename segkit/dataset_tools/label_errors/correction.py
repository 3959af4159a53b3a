"""The flagged images as a data set in which the probable errors are marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from segkit.data.formats import Dataset
from segkit.dataset_tools.label_errors.flagged import FlaggedImage, FlaggedImages
from segkit.diagnosis.label_errors import LabelError
from segkit.diagnosis.label_evidence import MISSING
from segkit.structures.lazy_targets import Window
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets

SUGGESTION = "suggestion"


class CorrectionData(Dataset):
    """The flagged images with all their annotations; suspicious ones have classes of their own.

    The class of a suspicious annotation is ``KIND: CLASS``, as ``other_class: nucleus``. A missing annotation is the mask of
    its detection. The detection beside a suspicious annotation is an object of the class ``suggestion: CLASS``.

    Args:
        flagged: the images.
    """

    def __init__(self, flagged: FlaggedImages) -> None:
        self.flagged, base = flagged, flagged.run.dataset
        self.base = base
        self.indices = flagged.indices
        self.image_ids = list(flagged.image_ids)
        marks = {mark for number in range(len(flagged)) for mark in self._marks(flagged[number])}
        names = sorted(marks - set(base.classes))
        first = max(base.category_ids, default=0) + 1
        self.classes = [*base.classes, *names]
        self.category_ids = [*base.category_ids, *range(first, first + len(names))]
        self.reader = base.reader
        self._labels = {name: label for label, name in enumerate(self.classes)}

    def load(self, index: int) -> Sample:
        sample = self.base.load(self.indices[index])
        sample.targets, sample.dropped, sample.annotations = self.targets(index), 0, None
        return sample

    def targets(self, index: int, window: Window | None = None) -> Targets:
        image = self.flagged[index]
        truth, added = image.truth, list[tuple[int, str]]()
        labels = truth.labels.clone()
        for _, error in image.errors:
            if error.object is not None:
                labels[error.object] = self._labels[self.flagged.flag(image, error)]
            if (name := self._added(image, error)) and error.detection is not None:
                added.append((error.detection, name))
        marked = Targets(truth.boxes, labels, truth.masks, truth.crowd, truth.has_mask)
        if not added:
            return marked
        # A detection may support several errors; it is written once.
        of_detection = dict(reversed(added))
        rows = torch.tensor(list(of_detection))
        masks = image.found.masks[rows] if image.found.has_masks and image.found.masks is not None else None
        names = torch.tensor([self._labels[name] for name in of_detection.values()])
        proposed = Targets(image.found.boxes[rows].float(), names, masks)
        return Targets.cat([marked, proposed]) if len(marked) else proposed

    def label_counts(self, index: int) -> dict[int, int]:
        targets = self.targets(index)
        return dict(Counter(targets.labels[~targets.crowd].tolist()))

    def size(self, index: int) -> tuple[int, int]:
        return self.base.size(self.indices[index])

    def image_files(self) -> list[str] | None:
        files = self.base.image_files()
        return None if files is None else [files[i] for i in self.indices]

    def describe(self) -> str:
        return f"{len(self)} images with probable label errors of {self.base.describe()}"

    def _added(self, image: FlaggedImage, error: LabelError) -> str:
        """The class of the detection that is written for an error; empty without a detection."""
        if error.kind == MISSING:
            return self.flagged.flag(image, error)
        detected = self.flagged.detected_class(image, error)
        return f"{SUGGESTION}: {detected}" if detected else ""

    def _marks(self, image: FlaggedImage) -> Sequence[str]:
        """The classes that the errors of an image add."""
        found = [self.flagged.flag(image, error) for _, error in image.errors]
        return [*found, *filter(None, (self._added(image, error) for _, error in image.errors))]
