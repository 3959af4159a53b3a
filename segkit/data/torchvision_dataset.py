"""A torchvision-style data set of ``(image, target)`` pairs as a segkit data set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Subset

from segkit.data.formats.base import Dataset
from segkit.data.formats.class_names import check_classes
from segkit.data.formats.objects import ground_truth_from_targets
from segkit.data.pair_image import pair_image
from segkit.data.pair_targets import check_image_id, pair_targets, training_targets
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.structures.torchvision_targets import targets_from_torchvision
from segkit.utils.errors import SegkitError

TargetLoader = Callable[[int], Mapping[str, Any]]


def from_torchvision(
    dataset: Any,
    classes: Sequence[str] | Mapping[int, str],
    *,
    image_ids: Sequence[int] | None = None,
    load_target: TargetLoader | None = None,
) -> TorchvisionDataset:
    """Wraps a torchvision-style data set, to train on it and to evaluate with it.

    ``dataset[i]`` returns ``(image, target)``. The image is a tensor [3, H, W], a numpy array [H, W, 3] or a PIL image, of
    uint8 or of floats in 0..1. The target is a dictionary of ``boxes`` (XYXY), ``labels`` (from 1) and, optionally,
    ``masks`` [N, H, W], ``iscrowd``, ``area`` and ``image_id``: see :func:`segkit.structures.targets_from_torchvision`.
    Transforms of ``torchvision.transforms.v2`` that the data set applies itself are applied; segkit's come after them.

    As of a COCO file, training boxes are the masks' own, evaluation gets the target's ``boxes`` and ``area``. Boxes
    without masks train the box heads.

    Args:
        dataset: anything with ``len(dataset)`` and ``dataset[i]``; picklable where worker processes are spawned.
        classes: names of the labels 1, 2, ..., without the background; or the name of each label where these have gaps,
            ``{1: "person", 3: "car"}``.
        image_ids: id of each image in results files, integers. None: ``dataset.ids`` if it has them (torchvision's
            ``CocoDetection``), else the index; a ``torch.utils.data.Subset`` keeps the ids of the whole.
        load_target: returns the target of image ``i`` without reading the image. Counts of objects then read no images.
    Raises:
        SegkitError: no map-style data set; names that repeat; as many ids as images are needed. When an image is loaded:
            what is wrong with its pair, with index and key.

    >>> train = segkit.data.from_torchvision(PennFudan("train"), ["pedestrian"])
    >>> segkit.register_dataset("pedestrians", lambda: train)
    """
    return TorchvisionDataset(dataset, classes, image_ids=image_ids, load_target=load_target)


@dataclass
class PairSample(Sample):
    """A sample with the boxes and areas that its target has for evaluation.

    Attributes:
        given_boxes: float64 [N, 4], XYXY: the target's own boxes, of all objects.
        given_areas: float64 [N], the target's ``area``; None: it has none.
        all_targets: the targets before objects without area were removed; None: none were.
    """

    given_boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)), repr=False)
    given_areas: np.ndarray | None = field(default=None, repr=False)
    all_targets: Targets | None = field(default=None, repr=False)


class TorchvisionDataset(Dataset):
    """``(image, target)`` pairs as a data set; :func:`from_torchvision` has the arguments."""

    def __init__(
        self,
        dataset: Any,
        classes: Sequence[str] | Mapping[int, str],
        *,
        image_ids: Sequence[int] | None = None,
        load_target: TargetLoader | None = None,
    ) -> None:
        _check_map_style(dataset)
        self.dataset = dataset
        self.load_target = load_target
        self.classes, self.category_ids = _classes(classes)
        self.image_ids = _image_ids(dataset, image_ids)
        # In a concatenation each part counts its images from 0, so an id in a target is not the image's id.
        joined = len(self) > 0 and isinstance(_origin(dataset, 0)[0], ConcatDataset)
        self._targets_know_ids = image_ids is not None or not joined

    def load(self, index: int) -> PairSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        where = self._name(index)
        try:
            pair = self.dataset[index]
        except OSError as error:  # a file that cannot be read; other errors of the data set's code are raised unchanged
            raise SegkitError(f"{where} raises {type(error).__name__}: {error}", value=index) from error
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            shown = f"{len(pair)} values" if isinstance(pair, (tuple, list)) else f"a {type(pair).__name__}"
            raise SegkitError(f"{where} returns {shown}; expected (image, target)", value=index)
        try:
            image = pair_image(pair[0], self.reader)
            size = (int(image.shape[1]), int(image.shape[2]))
            given, areas = pair_targets(pair[1], size, self.category_ids)
            if self._targets_know_ids:
                check_image_id(pair[1], self.image_ids[index])
        except SegkitError as error:
            raise SegkitError(f"{where}: {error}", key=error.key, value=error.value, choices=error.choices) from error
        whole = training_targets(given, size)
        kept = ~whole.degenerate()
        dropped = int((~kept).sum())
        return PairSample(
            image,
            whole[kept] if dropped else whole,
            self.image_ids[index],
            where,
            size,
            dropped=dropped,
            given_boxes=given.boxes.cpu().double().numpy(),
            given_areas=areas,
            all_targets=whole if dropped else None,
        )

    def label_counts(self, index: int) -> dict[int, int]:
        return dict(sorted(Counter(self._targets(index).labels.tolist()).items()))

    def object_counts(self) -> np.ndarray | None:
        if self.load_target is None:
            return None
        return np.array([int((~self._targets(i).crowd).sum()) for i in range(len(self))], np.int64)

    def unmasked_counts(self) -> np.ndarray | None:
        if self.load_target is None:
            return None
        targets = (self._targets(i) for i in range(len(self)))
        return np.array([int((~t.has_mask & ~t.crowd).sum()) for t in targets], np.int64)

    def size(self, index: int) -> tuple[int, int]:
        origin, origin_index = _origin(self.dataset, index)
        known = getattr(origin, "get_height_and_width", None)  # torchvision's name, for grouping by aspect ratio
        if known is None:
            return self.load(index).size
        height, width = known(origin_index)
        return int(height), int(width)

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        assert isinstance(sample, PairSample), type(sample)
        targets = sample.targets if sample.all_targets is None else sample.all_targets
        truth = ground_truth_from_targets(replace(sample, targets=targets))
        areas = [math.nan] * len(truth) if sample.given_areas is None else sample.given_areas.tolist()
        for item, (x0, y0, x1, y1), area in zip(truth, sample.given_boxes.tolist(), areas, strict=True):
            if x1 > x0 and y1 > y0:
                item["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            if not math.isnan(area):
                item["area"] = area
            elif item["segmentation"] is None:
                item["area"] = (x1 - x0) * (y1 - y0)
        return truth

    def describe(self) -> str:
        return f"torchvision-style data set {type(self.dataset).__name__}"

    def _name(self, index: int) -> str:
        return f"{type(self.dataset).__name__}[{index}]"

    def _targets(self, index: int) -> Targets:
        """All targets of an image, from ``load_target`` if it is set."""
        if self.load_target is None:
            sample = self.load(index)
            return sample.targets if sample.all_targets is None else sample.all_targets
        target = self.load_target(index)
        try:
            shape: tuple[int, ...] = getattr(target.get("masks"), "shape", ()) if isinstance(target, Mapping) else ()
            size = (int(shape[-2]), int(shape[-1])) if len(shape) == 3 else self.size(index)
            return targets_from_torchvision(target, size, self.category_ids).to("cpu")
        except SegkitError as error:
            raise SegkitError(f"load_target({index}): {error}", key=error.key, value=error.value) from error


def _check_map_style(dataset: Any) -> None:
    """SegkitError for what is no map-style data set, with what to give in its place."""
    kind = type(dataset).__name__
    if isinstance(dataset, type):
        raise SegkitError(f"dataset: expected an instance, not the class {dataset.__name__}", key="dataset")
    if isinstance(dataset, Dataset):
        raise SegkitError(f"dataset: {kind} is a segkit data set already; use it as it is", key="dataset")
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        inside = "; give the loader's .dataset" if hasattr(dataset, "dataset") else ""
        raise SegkitError(
            f"{kind} is no map-style data set; expected len(dataset) and dataset[i] -> (image, target){inside}",
            key="dataset",
        )


def _classes(classes: Sequence[str] | Mapping[int, str]) -> tuple[list[str], list[int]]:
    """Names of the classes, and the label of each."""
    if isinstance(classes, str) or not isinstance(classes, (Sequence, Mapping)):
        raise SegkitError(
            f"classes: expected a list of names or a dictionary of label and name, not {classes!r}", key="classes"
        )
    if isinstance(classes, Mapping):
        ids, names = list(classes), [classes[label] for label in classes]
        bad = [label for label in ids if isinstance(label, bool) or not isinstance(label, int) or label < 1]
        if bad:
            raise SegkitError(f"classes: the label {bad[0]!r} is no integer from 1 on", key="classes", value=bad[0])
    else:
        names, ids = list(classes), list(range(1, len(classes) + 1))
    background = next((name for name in names if str(name).strip("_").lower() == "background"), None)
    if background is not None:
        raise SegkitError(
            f"classes: '{background}' is no class; name the labels from 1 on, with gaps as a dictionary of label and name",
            key="classes", value=background,
        )  # fmt: skip
    check_classes(names, ids)
    if not names:
        raise SegkitError("classes: expected one or more names", key="classes", value=names)
    return names, ids


def _origin(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set under ``torch.utils.data.Subset``, and the index there."""
    while isinstance(dataset, Subset):
        index, dataset = int(dataset.indices[index]), dataset.dataset
    return dataset, index


def _image_ids(dataset: Any, given: Sequence[int] | None) -> list[int]:
    count = len(dataset)
    if given is None:
        origins = [_origin(dataset, i) for i in range(count)]
        known = getattr(origins[0][0], "ids", None) if origins else None
        integers = isinstance(known, (list, tuple, range)) and all(type(k) is int for k in known)
        ids = [known[i] if known is not None and integers else i for _, i in origins]
    else:
        ids = [int(k) for k in given]
    if len(ids) != count or len(set(ids)) != count:
        raise SegkitError(
            f"image_ids: expected {count} different ids, one an image; there are {len(ids)}, {len(set(ids))} of them "
            "different",
            key="image_ids",
        )
    return ids
