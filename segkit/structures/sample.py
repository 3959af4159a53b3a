"""One image with its targets, and several of them on their way to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from segkit.structures.targets import Targets


@dataclass
class Sample:
    """One image, what is known of it and where it came from.

    Attributes:
        image: uint8 [C, H, W], RGB.
        targets: in the image's pixels, moving with it through every transform.
        image_id: the data set's number for the file.
        file_name: for messages and results.
        size: (H, W) of the file, whatever transforms did since; predictions are made at this size.
        annotations: ground truth in the file's pixels, filled for evaluation only: dicts of ``bbox`` (XYWH floats),
            ``segmentation`` (RLE dict, counts str), ``area``, ``iscrowd``, ``label`` (0-based).
        dropped: objects that reading and transforms removed, as a crop does with those it leaves nothing of.
        rescued: masks that shrinking would have emptied and that kept one pixel.
        skipped: what was wrong with each image that could not be read, in whose place this one came.
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

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Sample:
        """The same sample with image and targets on a device."""
        image = self.image.to(device, non_blocking=non_blocking)
        return replace(self, image=image, targets=self.targets.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Sample:
        """A copy in page-locked memory."""
        return replace(self, image=self.image.pin_memory(), targets=self.targets.pin_memory())


class Batch:
    """Samples side by side. Images keep their sizes: it is the model that pads them.

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
        """uint8 [C, H, W] each."""
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
    def annotations(self) -> list[list[dict[str, Any]] | None]:
        """Each file's ground truth, None where it was not loaded for evaluation."""
        return [sample.annotations for sample in self.samples]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on a device."""
        return Batch([sample.to(device, non_blocking=non_blocking) for sample in self.samples])

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; DataLoader calls it where its ``pin_memory`` is on."""
        return Batch([sample.pin_memory() for sample in self.samples])
