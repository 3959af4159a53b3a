"""What a transform is: parameters drawn once, then applied to image, boxes and masks alike."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError

# What a transform may declare; see Transform.
INVERSIONS = ("identity", "recorded", "none", "undeclared")


class Transform(ABC):
    """Changes a sample; never in place.

    All randomness comes from the generator that is passed, so that a sample's augmentation is a function of
    (seed, epoch, index, repetition). Image, boxes and masks of the result always fit each other, and ``sample.size`` stays the
    file's. A transform that makes pixels appear where they were not before belongs on the functions in
    ``geometry.py``; one that only changes colours derives from ``photometric.Photometric``.

    Detections of test images are mapped back to the files, so a test transform has to say how. ``inversion`` belongs to the
    ``__call__`` beside it: a subclass with another ``__call__`` declares it anew.
    Make new targets by ``dataclasses.replace(sample.targets, ...)``: which objects are crowd regions and which have a mask
    stays known.

    Attributes:
        inversion: how boxes and masks are mapped back through the transform. ``identity``: every pixel stays in its
            place. ``recorded``: as ``sample.geometry`` says, which the functions in ``geometry.py`` keep: scales, flips,
            quarter turns, shifts. ``none``: not exactly, so it cannot be a test transform. ``undeclared``: it is found out
            at each test image, with known objects, at the cost of a second run.
        examples: arguments with which the tests try the transform; needed where some argument has no default.
        needs_masks: the transform does nothing without masks; data in which no object has one are an error.
    """

    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    inversion: ClassVar[str] = "undeclared"
    needs_masks: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The transformed sample; ``sample.image`` is uint8 ``[C, H, W]`` before and after."""

    def test_warning(self) -> str:
        """What whoever has it among the test transforms should know: the end of a sentence about it, or ""."""
        return ""

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


# Loads a random sample of the data set, untransformed.
LoadOther = Callable[[torch.Generator], Sample]


class MixingTransform(Transform):
    """Makes one sample of several images of the data set; for training only.

    ``Compose``, which knows the transforms that stand before it, runs it. The other samples come through those too, so
    that sizes and looks are alike.
    """

    inversion = "none"

    @abstractmethod
    def mix(self, sample: Sample, draw_other: Callable[[], Sample], generator: torch.Generator) -> Sample:
        """The mixed sample; whose image it counts as, ``image_id`` and the rest, is ``sample``.

        Args:
            sample: never changed in place.
            draw_other: gives another random sample of the data set (maybe of the same image), as far transformed as
                ``sample``. It draws from ``generator``.
            generator: source of all randomness.
        """

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        raise SegkitError(
            f"{type(self).__name__} mixes in other images of the training data, and here is no such data: it belongs in "
            "data.train_transforms only"
        )


class Compose(Transform):
    """One transform after the other; those within another Compose are taken in its place."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms: list[Transform] = []
        for transform in transforms:
            self.transforms += transform.transforms if isinstance(transform, Compose) else [transform]

    def __call__(self, sample: Sample, generator: torch.Generator, load_other: LoadOther | None = None) -> Sample:
        """As Transform's; ``load_other`` is where mixing transforms get their other samples from.

        Raises:
            SegkitError: there is a mixing transform, and no ``load_other``.
        """
        for i, transform in enumerate(self.transforms):
            if load_other is not None and isinstance(transform, MixingTransform):
                sample = transform.mix(sample, self._drawing(i, generator, load_other), generator)
            else:
                sample = transform(sample, generator)
            if not isinstance(sample, Sample):
                raise SegkitError(
                    f"the transform {type(transform).__name__} returns a {type(sample).__name__}; expected a Sample, "
                    "as by `return dataclasses.replace(sample, image=...)`"
                )
        return sample

    def _drawing(self, count: int, generator: torch.Generator, load_other: LoadOther) -> Callable[[], Sample]:
        """A function that gives a random sample after the first ``count`` transforms."""
        before = Compose(self.transforms[:count])
        return lambda: before(load_other(generator), generator, load_other)


def build_transforms(specs: Sequence[Mapping[str, Any]], *, path: str = "data.transforms") -> Compose:
    """Build a list of specs as ``{name: RandomHorizontalFlip, p: 0.5}``; ``path`` is its place in the configuration."""
    transforms = [TRANSFORM_REGISTRY.build(spec, path=f"{path}[{i}]") for i, spec in enumerate(specs)]
    for i, (transform, spec) in enumerate(zip(transforms, specs, strict=True)):
        if not isinstance(transform, Transform) and not _takes_sample(transform):
            raise SegkitError(
                f"{path}[{i}]: {spec['name']} makes a {type(transform).__name__}, which is called with other arguments than a "
                "sample and a generator; derive from segkit.data.transforms.Transform, or take one of "
                "torchvision.transforms.v2",
                key=path,
            )
    return Compose(transforms)


def _takes_sample(transform: Any) -> bool:
    """Whether something is called as a Transform is."""
    called = getattr(transform, "forward", transform)
    try:
        inspect.signature(called).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A random number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def randint(low: int, high: int, generator: torch.Generator) -> int:
    """A random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def interval(value: float | Sequence[float], name: str) -> tuple[float, float]:
    """(low, high) from one number, which stands for both directions, or a pair; ValueError for anything else."""
    ends = (-value, value) if isinstance(value, (int, float)) else tuple(value)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ValueError(f"{name}: expected one number from 0 on, or [low, high]; got {value}")
    return float(ends[0]), float(ends[1])


def check_probability(p: float) -> None:
    """ValueError unless p is in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, 0 to 1; got {p}")
