"""Sample: one image with its targets and origin. Batch: samples on their way to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from segkit.structures.detections import Detections
from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.lazy_targets import LazyTargets
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images.lazy_image import LazyImage


@dataclass
class Sample:
    """One image with its targets and the file that it was made from.

    Attributes:
        image: [C, H, W], uint8 or float in 0..1; RGB unless channels were chosen. Between ``Dataset.open`` and the first
            transform that needs pixels, a :class:`LazyImage` stands for the image of a large file, and a
            :class:`LazyTargets` for its targets; :meth:`materialised` reads both.
        targets: in the image's pixels; every transform changes them with the image.
        image_id: id of the file in the data set.
        file_name: for messages and results.
        size: (H, W) of the file, which transforms do not change; predictions are made at this size.
        annotations: ground truth in the file's pixels, filled for evaluation only: dicts of ``bbox`` (XYWH floats),
            ``segmentation`` (RLE dict, counts str), ``area``, ``iscrowd``, ``label`` (0-based, -1 for an ignore region).
        dropped: number of objects that reading or a transform removed, such as objects outside a crop.
        rescued: number of masks that resizing would have emptied and that kept one pixel.
        skipped: error message of each image that could not be read and that this one replaces.
        geometry: of the image with respect to its file, recorded by ``segkit.data.transforms.geometry``; None: the image
            is the whole file, resized or unchanged.
    """

    image: Tensor
    targets: Targets
    image_id: int
    file_name: str
    size: tuple[int, int]
    annotations: list[dict[str, Any]] | None = field(default=None, repr=False)
    dropped: int = 0
    rescued: int = 0
    skipped: tuple[str, ...] = ()
    geometry: ImageGeometry | None = field(default=None, repr=False)

    @property
    def is_lazy(self) -> bool:
        """Whether the image or the targets are not read yet."""
        return isinstance(self.image, LazyImage) or isinstance(self.targets, LazyTargets)

    def materialised(self) -> Sample:
        """The sample with image and targets read, as ``Dataset.load`` returns it.

        Itself if they are.
        """
        sample = self.with_targets()
        return replace(sample, image=sample.image.read()) if isinstance(sample.image, LazyImage) else sample

    def with_targets(self) -> Sample:
        """The sample with its targets read; its image stays as it is."""
        if not isinstance(self.targets, LazyTargets):
            return self
        targets, dropped = self.targets.read()
        return replace(self, targets=targets, dropped=self.dropped + dropped)

    @property
    def known_geometry(self) -> ImageGeometry:
        """``geometry``; if it is None, that of a file resized to the image's size."""
        if self.geometry is not None:
            return self.geometry
        return ImageGeometry.of_file(self.size).resize((self.image.shape[1], self.image.shape[2]))

    @property
    def output_size(self) -> tuple[int, int]:
        """(H, W) to pass to a model's ``predict`` as ``output_sizes``; see :meth:`map_to_file`.

        Raises:
            SegkitError: the image was resized or cropped after its geometry was recorded.
        """
        geometry = self.known_geometry
        if geometry.size != tuple(self.image.shape[1:]):
            raise SegkitError(
                f"{self.file_name or 'an image'}: the image is {self.image.shape[1]} x {self.image.shape[2]} pixels large, but "
                f"its geometry was recorded for {geometry.size[0]} x {geometry.size[1]}; resize, crop and pad with the "
                "functions of segkit.data.transforms.geometry, which record it"
            )
        return self.size if geometry.is_resize else geometry.size

    def map_to_file(self, detections: Detections) -> Detections:
        """Maps a model's detections at ``output_size`` to the file's pixels.

        If the image is the whole file, the model predicts at the file's size and nothing is mapped. Any other image is
        predicted at its own size, and boxes and masks are mapped by its geometry.

        Raises:
            SegkitError: the detections have another size, the geometry has no inverse, or the model returns its own
                class of detections with other masks.
        """
        geometry = self.known_geometry
        if isinstance(detections, Detections) and detections.size != self.output_size:
            raise SegkitError(
                f"{self.file_name or 'an image'}: the model returned detections for {detections.size[0]} x "
                f"{detections.size[1]} pixels, but predict(images, output_sizes) asked for {self.output_size[0]} x "
                f"{self.output_size[1]}; map them with Detections.resized(size)"
            )
        if geometry.is_resize:
            return detections
        kind = type(detections)
        if kind.masks is not Detections.masks or kind.to_rle is not Detections.to_rle:
            raise SegkitError(
                f"{self.file_name or 'an image'}: the model returned {kind.__name__} with its own masks, which cannot "
                "be mapped back through flips, rotations, crops and padding; remove these from data.test_transforms",
                key="data.test_transforms",
            )
        return detections.mapped_to_file(geometry)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Sample:
        """The sample with image and targets on a device; a lazy image stays as it is."""
        lazy = isinstance(self.image, LazyImage)
        image = self.image if lazy else self.image.to(device, non_blocking=non_blocking)
        return replace(self, image=image, targets=self.targets.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Sample:
        """A copy in page-locked memory."""
        image = self.image if isinstance(self.image, LazyImage) else self.image.pin_memory()
        return replace(self, image=image, targets=self.targets.pin_memory())


class Batch:
    """Several samples. Images keep their sizes; the model pads them.

    Args:
        samples: at least one, in order.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)

    @staticmethod
    def collate(samples: Sequence[Sample]) -> Batch:
        """For a DataLoader's ``collate_fn``."""
        return Batch(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"Batch({self.file_names})"

    @property
    def images(self) -> list[Tensor]:
        """[C, H, W] each, uint8 or float in 0..1."""
        return [sample.image for sample in self.samples]

    @property
    def targets(self) -> list[Targets]:
        return [sample.targets for sample in self.samples]

    @property
    def image_ids(self) -> list[int]:
        return [sample.image_id for sample in self.samples]

    @property
    def file_names(self) -> list[str]:
        return [sample.file_name for sample in self.samples]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each file."""
        return [sample.size for sample in self.samples]

    @property
    def output_sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each image for a model's ``predict``; :meth:`map_to_file` takes its result."""
        return [sample.output_size for sample in self.samples]

    def map_to_file(self, detections: Sequence[Detections]) -> list[Detections]:
        """Maps each image's detections at ``output_sizes`` to the pixels of its file."""
        pairs = zip(self.samples, detections, strict=True)
        return [sample.map_to_file(found) for sample, found in pairs]

    @property
    def annotations(self) -> list[list[dict[str, Any]] | None]:
        """Each file's ground truth; None if it was not loaded for evaluation."""
        return [sample.annotations for sample in self.samples]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        return Batch([sample.to(device, non_blocking=non_blocking) for sample in self.samples])

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; a DataLoader with ``pin_memory`` calls it."""
        return Batch([sample.pin_memory() for sample in self.samples])
