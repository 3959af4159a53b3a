"""The images with probable label errors: their annotations, detections and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from segkit.data.formats.image_names import image_names
from segkit.diagnosis.label_errors import LabelError
from segkit.diagnosis.label_evidence import MISSING, OTHER_CLASS
from segkit.engine.finished_run import FinishedRun
from segkit.evaluation.overlap_evaluator import CLASS_AGNOSTIC
from segkit.evaluation.predictions import as_detections
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import ALL_CLASSES, Targets


@dataclass(frozen=True)
class FlaggedImage:
    """An image with its errors.

    Attributes:
        index: in the data set.
        image_id: the file's id.
        name: path below the folder that all images share.
        size: (H, W).
        truth: annotations in the order of the ground truth, regions included.
        found: detections in the order of the results.
        errors: rank, from 1 on, and error; in that order.
    """

    index: int
    image_id: int
    name: str
    size: tuple[int, int]
    truth: Targets
    found: Detections
    errors: Sequence[tuple[int, LabelError]]


class FlaggedImages:
    """Reads the images with errors one at a time, in the order of their first error.

    Args:
        run: ground truth and detections.
        errors: the list, most probable first.
    """

    def __init__(self, run: FinishedRun, errors: Sequence[LabelError]) -> None:
        self.run, self.classes = run, list(run.dataset.classes)
        self.detected_classes = list(CLASS_AGNOSTIC) if run.class_agnostic else self.classes
        self._names = image_names(run.dataset)
        self._errors: dict[int, list[tuple[int, LabelError]]] = {}
        for rank, error in enumerate(errors, start=1):
            self._errors.setdefault(error.image_id, []).append((rank, error))
        self.image_ids = list(self._errors)
        index_of = {image_id: index for index, image_id in enumerate(run.dataset.image_ids)}
        self.indices = [index_of[image_id] for image_id in self.image_ids]
        self._read = lru_cache(maxsize=1)(self._uncached)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, number: int) -> FlaggedImage:
        """The image of that number among the flagged ones."""
        return self._read(number)

    def _uncached(self, number: int) -> FlaggedImage:
        image_id, index = self.image_ids[number], self.indices[number]
        size = self.run.dataset.size(index)
        truth = targets_of(self.run.ground_truth(image_id), size)
        results = list(self.run.results.get(image_id, ()))
        found = as_detections(results, size, self.run.dataset.category_ids)
        return FlaggedImage(index, image_id, self._names[index], size, truth, found, self._errors[image_id])

    def annotated_class(self, image: FlaggedImage, error: LabelError) -> str:
        """The class of the annotation; empty without one."""
        return "" if error.object is None else self.classes[int(image.truth.labels[error.object])]

    def detected_class(self, image: FlaggedImage, error: LabelError) -> str:
        """The class of the detection; empty without one."""
        return "" if error.detection is None else self.detected_classes[int(image.found.labels[error.detection])]

    def flag(self, image: FlaggedImage, error: LabelError) -> str:
        """The class by which an annotation is marked, ``KIND: CLASS``.

        CLASS is the one that the model proposes. QuPath shows it as a class CLASS derived from KIND.
        """
        proposed = self.detected_class(image, error) if error.kind in (MISSING, OTHER_CLASS) else ""
        return f"{error.kind}: {proposed or self.annotated_class(image, error)}"

    def box(self, image: FlaggedImage, error: LabelError) -> list[float]:
        """XYWH of the annotation, else of the detection."""
        boxes = image.found.boxes if error.object is None else image.truth.boxes
        row = error.detection if error.object is None else error.object
        assert row is not None
        x0, y0, x1, y1 = boxes[row].tolist()
        return [x0, y0, x1 - x0, y1 - y0]


def targets_of(truth: Sequence[dict[str, Any]], size: tuple[int, int]) -> Targets:
    """The entries of an image's ground truth as targets, in their order.

    Objects with an empty mask have the box of their file, those without a mask are boxes.
    """
    if not truth:
        return Targets.empty(size)
    [empty] = InstanceMasks.empty(size, 1).to_rle()
    masks = InstanceMasks.from_rle([entry["segmentation"] or empty for entry in truth], size)
    boxes = torch.tensor([entry["bbox"] for entry in truth], dtype=torch.float64).reshape(-1, 4)
    has_mask = torch.tensor([entry["segmentation"] is not None for entry in truth])
    return Targets(
        torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        torch.tensor([int(entry["label"]) for entry in truth]),
        masks if bool(has_mask.any()) else None,
        torch.tensor([bool(entry["iscrowd"]) for entry in truth]),
        has_mask,
    )


def is_region(targets: Targets) -> torch.Tensor:
    """Bool [N]: crowd and ignore regions."""
    return targets.crowd | (targets.labels == ALL_CLASSES)
