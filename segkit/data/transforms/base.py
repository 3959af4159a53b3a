"""What a transform is: parameters drawn once, then applied to image, boxes and masks alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample


class Transform(ABC):
    """Changes a sample; never in place.

    All randomness comes from the generator that is passed, so that a sample's augmentation is a function of
    (seed, epoch, index, repetition). Image, boxes and masks of the result always fit each other, and ``sample.size`` stays the
    file's. A transform that makes pixels appear where they were not before belongs on the functions in
    ``geometry.py``; one that only changes colours derives from ``photometric.Photometric``.

    Attributes:
        examples: arguments with which the tests try the transform; needed where some argument has no default.
    """

    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)

    @abstractmethod
    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The transformed sample; ``sample.image`` is uint8 ``[C, H, W]`` before and after."""

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


class Compose(Transform):
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample


def build_transforms(specs: Sequence[Mapping[str, Any]], *, path: str = "data.transforms") -> Compose:
    """Build a list of specs as ``{name: RandomHorizontalFlip, p: 0.5}``; ``path`` is its place in the configuration."""
    return Compose([TRANSFORM_REGISTRY.build(spec, path=f"{path}[{i}]") for i, spec in enumerate(specs)])


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A random number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def randint(low: int, high: int, generator: torch.Generator) -> int:
    """A random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def check_probability(p: float) -> None:
    """ValueError unless p is in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, 0 to 1; got {p}")
