"""Partly annotated data: ignore regions, and classes that are not annotated everywhere."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from segkit.data.formats.base import Dataset
from segkit.data.formats.objects import LostObjects, TrainingObjects, ground_truth_from_targets
from segkit.data.transforms.cutting import cut_targets
from segkit.data.transforms.geometry import place
from segkit.structures.lazy_targets import LazyTargets, Window
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.images import ImageReader


@dataclass(frozen=True)
class PartialAnnotation:
    """What is not annotated in the images of a data set, by the names of its categories.

    Attributes:
        ignore_classes: their objects are ignore regions, in which nothing is learnt or evaluated.
        annotated_region_class: outside of the objects of this category an image is an ignore region; None: images are
            annotated as a whole.
        not_exhaustive: classes that are not annotated everywhere: an unmatched detection of them is no mistake, and a
            background proposal no evidence against them.

    Raises:
        SegkitError: a name has two of these meanings, or repeats.
    """

    ignore_classes: tuple[str, ...] = ()
    annotated_region_class: str | None = None
    not_exhaustive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys: dict[str, str] = {}
        given = {"ignore_classes": self.ignore_classes, "not_exhaustive": self.not_exhaustive}
        if self.annotated_region_class is not None:
            given["annotated_region_class"] = (self.annotated_region_class,)
        for key, names in given.items():
            for name in names:
                if name in keys:
                    both = f"data.{keys[name]} and data.{key}" if keys[name] != key else f"data.{key} twice"
                    raise SegkitError(f"data.{key}: '{name}' is named in {both}", key=f"data.{key}", value=name)
                keys[name] = key

    @property
    def region_classes(self) -> list[str]:
        """Categories that are no classes."""
        return [*self.ignore_classes, *([self.annotated_region_class] if self.annotated_region_class else [])]

    def __bool__(self) -> bool:
        return bool(self.region_classes or self.not_exhaustive)

    def check_classes(self, classes: Collection[str], key: str) -> None:
        """Raises a SegkitError if a region's category is among the classes."""
        for name in self.region_classes:
            if name in classes:
                meaning = (
                    "data.annotated_region_class" if name == self.annotated_region_class else "data.ignore_classes"
                )
                raise SegkitError(
                    f"{key}: '{name}' is a class there and a region by {meaning}; remove it from one of them",
                    key=key,
                    value=name,
                )


class PartiallyAnnotated(Dataset):
    """A data set of any format with regions and classes that are not annotated.

    Args:
        dataset: the data set, whose classes include the categories of the regions.
        partial: the names of these categories.
        optional: whether the data set may lack categories of regions, because other data have them.
    Raises:
        SegkitError: a name is not one of the data set's categories.
    """

    def __init__(self, dataset: Dataset, partial: PartialAnnotation, *, optional: bool = False) -> None:
        self.dataset = dataset
        self.partial = partial
        regions = partial.region_classes
        kept = [label for label, name in enumerate(dataset.classes) if name not in regions]
        self.classes = [dataset.classes[label] for label in kept]
        self.category_ids = [dataset.category_ids[label] for label in kept]
        self.image_ids = dataset.image_ids
        self.frequencies = [dataset.frequencies[label] for label in kept] if dataset.frequencies else ()
        for key, names, known in (
            ("ignore_classes", [] if optional else partial.ignore_classes, dataset.classes),
            ("annotated_region_class", [] if optional else regions[len(partial.ignore_classes) :], dataset.classes),
            ("not_exhaustive", partial.not_exhaustive, self.classes),
        ):
            for name in names:
                if name not in known:
                    raise SegkitError(
                        f"data.{key}: the {dataset.describe()} has no category '{name}'{did_you_mean(name, known)}",
                        key=f"data.{key}", value=name, choices=known,
                    )  # fmt: skip
        self._ignored = [label for label, name in enumerate(dataset.classes) if name in partial.ignore_classes]
        annotated = [label for label, name in enumerate(dataset.classes) if name == partial.annotated_region_class]
        self._annotated = annotated[0] if annotated else None
        # The new label of each label; the last entry is that of ALL_CLASSES, which stays.
        self._labels = torch.full((len(dataset.classes) + 1,), ALL_CLASSES, dtype=torch.int64)
        self._labels[kept] = torch.arange(len(kept))
        self._unlabelled = torch.tensor(sorted(self.classes.index(name) for name in partial.not_exhaustive)).long()

    @property
    def reader(self) -> ImageReader:
        """Reads the image files."""
        return self.dataset.reader

    @reader.setter
    def reader(self, reader: ImageReader) -> None:
        self.dataset.reader = reader

    @property
    def region_labels(self) -> list[int]:
        """Labels of the regions' categories in the wrapped data set."""
        return self._ignored + ([] if self._annotated is None else [self._annotated])

    def load(self, index: int) -> Sample:
        sample = self.dataset.load(index)
        return dataclasses.replace(sample, targets=self._converted(sample.targets, sample.size))

    def open(self, index: int) -> Sample:
        sample = self.dataset.open(index)
        if not sample.is_lazy:
            return dataclasses.replace(sample, targets=self._converted(sample.targets, sample.size))
        targets = LazyTargets(functools.partial(self.window_targets, index))
        return dataclasses.replace(sample, targets=cast(Any, targets))

    def open_targets(self, index: int) -> Sample:
        sample = self.dataset.open_targets(index)
        return dataclasses.replace(sample, targets=self._converted(sample.targets, sample.size))

    def targets(self, index: int, window: Window | None = None) -> Targets:
        return self._converted(self.dataset.targets(index, window), self.dataset.size(index), window)

    def all_targets(self, index: int) -> Targets:
        return self._converted(self.dataset.all_targets(index), self.dataset.size(index))

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        inner, others = self.dataset.window_targets(index, window)
        if others and self.region_labels:  # regions are not objects, so that a crop does not drop them
            read = int((self._is_in(inner.labels, self.region_labels) & ~inner.crowd).sum())
            others = max(0, others - max(0, int(self._regions[index]) - read))
        return self._converted(inner, self.dataset.size(index), window), others

    def label_counts(self, index: int) -> dict[int, int]:
        counts = {int(self._labels[label]): n for label, n in self.dataset.label_counts(index).items()}
        return {label: n for label, n in counts.items() if label != ALL_CLASSES}

    def object_counts(self) -> np.ndarray | None:
        counts = self.dataset.object_counts()
        return None if counts is None else self._without_regions(counts, self._regions)

    def unmasked_counts(self) -> np.ndarray | None:
        counts = self.dataset.unmasked_counts()
        if counts is None:
            return None
        regions = self.dataset.counts_of(self.region_labels, unmasked=True)
        return None if regions is None else self._without_regions(counts, regions)

    def counts_of(self, labels: Collection[int], *, unmasked: bool = False) -> np.ndarray | None:
        inner = [label for label, new in enumerate(self._labels[:-1].tolist()) if new in labels and new >= 0]
        return self.dataset.counts_of(inner, unmasked=unmasked)

    def lost_objects(self) -> tuple[int, list[LostObjects]]:
        total, lost = self.dataset.lost_objects()
        return max(0, total - int(self._regions.sum())) if total else 0, lost

    def training_objects(self, index: int) -> TrainingObjects:
        found = self.dataset.training_objects(index)
        inner = self.dataset.targets(index)
        regions = self._is_in(inner.labels, self.region_labels) & ~inner.crowd & ~inner.degenerate()
        return TrainingObjects(found.usable - int(regions.sum()), found.crowd + int(regions.sum()), found.empty)

    def image_files(self) -> list[str] | None:
        return self.dataset.image_files()

    def size(self, index: int) -> tuple[int, int]:
        return self.dataset.size(index)

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        if type(self.dataset).ground_truth is Dataset.ground_truth:
            return ground_truth_from_targets(sample)
        # Formats with boxes and areas of their own expect the sample that they loaded.
        inner = self.dataset.targets(index)
        truth = self.dataset.ground_truth(index, dataclasses.replace(sample, targets=inner))
        kept = [self._converted_item(item) for item in truth if item["label"] != self._annotated]
        rest = self._outside(inner, sample.size)
        return kept + ground_truth_from_targets(dataclasses.replace(sample, targets=rest))

    def describe(self) -> str:
        return self.dataset.describe()

    def notes(self) -> list[str]:
        notes = list(self.dataset.notes())
        for label in self._ignored:
            counts = self._counts_of_categories([label])
            which = f"{int(counts.sum()):,} of '{self.dataset.classes[label]}' in {int((counts > 0).sum()):,} images"
            notes.append(f"of these objects {which} are ignore regions")
        if self._annotated is not None:
            counts, name = self._counts_of_categories([self._annotated]), self.dataset.classes[self._annotated]
            which = f"{int(counts.sum()):,} of '{name}' in {int((counts > 0).sum()):,} images"
            notes.append(f"of these objects {which} are annotated regions; all outside of them is an ignore region")
            without = [int(i) for i in np.flatnonzero(counts == 0)]
            if without:
                files = self.image_files()
                first = "" if files is None else f": {first_few([files[i] for i in without[:4]])}"
                notes.append(
                    f"{len(without):,} images have no region of '{name}' and are an ignore region as a whole{first}"
                )
        shifted = [name for label, name in enumerate(self.classes) if self.dataset.classes[label] != name]
        if shifted:  # the wrapped data set may have named its own labels
            notes.append(f"labels without these: {first_few([f'{i} {name}' for i, name in enumerate(self.classes)])}")
        if self.partial.not_exhaustive:
            notes.append(f"not annotated everywhere: {first_few(list(self.partial.not_exhaustive))}")
        return notes

    @functools.cached_property
    def _regions(self) -> np.ndarray:
        """int64 [images]: number of regions of each image; counted once, since every window of an image needs it."""
        return self._counts_of_categories(self.region_labels)

    def _counts_of_categories(self, labels: Collection[int]) -> np.ndarray:
        counts = self.dataset.counts_of(labels)
        assert counts is not None  # only those of objects without masks may be unknown
        return counts

    @staticmethod
    def _without_regions(counts: np.ndarray, regions: np.ndarray) -> np.ndarray:
        return (counts - regions).clip(min=0)

    @staticmethod
    def _is_in(labels: torch.Tensor, chosen: Collection[int]) -> torch.Tensor:
        return torch.isin(labels, torch.tensor(list(chosen), dtype=torch.int64))

    def _converted(self, targets: Targets, size: tuple[int, int], window: Window | None = None) -> Targets:
        """Targets of the wrapped data set as those of this one.

        Args:
            targets: those of a window, or all.
            size: (H, W) of the image.
            window: x0, y0, x1, y1; None: the whole image.
        """
        is_ignored = self._is_in(targets.labels, self._ignored)
        known = self._labels[targets.unlabelled]
        converted = dataclasses.replace(
            targets,
            labels=self._labels[targets.labels],
            crowd=targets.crowd | is_ignored,
            unlabelled=torch.cat([known[known != ALL_CLASSES], self._unlabelled]).unique(),
        )
        rest = self._outside(targets, size, window)
        if self._annotated is not None:
            converted = converted[targets.labels != self._annotated]
        return Targets.cat([converted, rest]) if len(rest) else converted

    def _outside(self, targets: Targets, size: tuple[int, int], window: Window | None = None) -> Targets:
        """The part of a window outside of the annotated regions, as one ignore region or none."""
        if self._annotated is None:
            return Targets.empty(size)
        annotated = targets[targets.labels == self._annotated]
        if window is not None:
            annotated = cut_targets(annotated, window)[0]
            rest = self._complement(annotated, (window[3] - window[1], window[2] - window[0]))
            return place(rest, size, window[0], window[1])
        return self._complement(annotated, size)

    @staticmethod
    def _complement(annotated: Targets, size: tuple[int, int]) -> Targets:
        """The part of an image of ``size`` (H, W) outside of objects, as one ignore region or none."""
        region = torch.zeros(size, dtype=torch.bool) if annotated.masks is None else annotated.masks.union()
        for x0, y0, x1, y1 in annotated.boxes[~annotated.has_mask].round().long().tolist():
            region[y0:y1, x0:x1] = True
        masks = InstanceMasks.from_dense(~region[None])
        count = int(masks.areas().sum() > 0)
        masks = masks[:count]
        labels = torch.full((count,), ALL_CLASSES)
        return Targets(masks.boxes(), labels, masks, torch.ones(count, dtype=torch.bool))

    def _converted_item(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """A ground-truth object of the wrapped data set as one of this data set."""
        is_ignored = item["label"] in self._ignored
        return {**item, "label": int(self._labels[item["label"]]), "iscrowd": int(item["iscrowd"] or is_ignored)}
