"""Interface of a transform, composition, and helpers to draw random parameters."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError

# Valid values of Transform.inversion.
INVERSIONS = ("identity", "recorded", "none", "undeclared")


class Transform(ABC):
    """Interface of a transform, which changes image, boxes and masks of a sample together.

    It never changes a sample in place.

    All randomness comes from the generator argument, so that a sample's augmentation depends only on (seed, epoch, index,
    repetition). Boxes and masks of the result fit its image, and ``sample.size`` stays that of the file. A transform that
    moves pixels is built on the functions of ``geometry.py``; one that only changes colours derives from
    ``photometric.Photometric``. New targets are made by ``dataclasses.replace(sample.targets, ...)``, which preserves crowd
    flags and ``has_mask``.

    Detections of test images are mapped back to the files, so a test transform declares its ``inversion``. The
    declaration applies to the ``__call__`` of the same class: a subclass with another ``__call__`` declares it again.

    Attributes:
        inversion: how boxes and masks are mapped back through the transform. ``identity``: no pixel moves. ``recorded``:
            by ``sample.geometry``, which the functions of ``geometry.py`` update (scales, flips, quarter turns, shifts).
            ``none``: not exactly, so that it cannot be a test transform. ``undeclared``: determined at each test image
            with known objects, at the cost of a second run.
        examples: arguments with which the tests run the transform; required if an argument has no default.
        needs_masks: whether the transform does nothing without masks; then data without any mask are an error.
        reads_windows: whether the transform takes a sample whose image is not read yet (``sample.is_lazy``): it crops with
            ``geometry.crop``, which reads the window alone. For any other transform the whole image is read first. The
            declaration applies to the ``__call__`` of the same class, as that of ``inversion``.
    """

    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    inversion: ClassVar[str] = "undeclared"
    needs_masks: ClassVar[bool] = False
    reads_windows: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The transformed sample; ``sample.image`` is ``[C, H, W]``, uint8 or float in 0..1, before and after."""

    def check_channels(self, count: int) -> None:  # noqa: B027  # most transforms take any number
        """Raises a SegkitError if the transform cannot be applied to images of ``count`` channels.

        The message says which of its arguments need RGB. It is called before training starts.
        """

    def test_warning(self) -> str:
        """The predicate of a warning if this is used as a test transform; empty for no warning."""
        return ""

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


# Loads a random untransformed sample of the data set.
LoadOther = Callable[[torch.Generator], Sample]


class MixingTransform(Transform):
    """Combines several images of the data set into one sample; for training only.

    ``Compose`` runs it, and applies the transforms before it to the other samples too, so that sizes and colours of all
    are comparable.
    """

    inversion = "none"

    @abstractmethod
    def mix(self, sample: Sample, draw_other: Callable[[], Sample], generator: torch.Generator) -> Sample:
        """Returns the mixed sample, with ``image_id`` and file name of ``sample``.

        Args:
            sample: never changed in place.
            draw_other: returns another random sample of the data set (possibly of the same image), after the same
                transforms as ``sample``. It draws from ``generator``.
            generator: source of all randomness.
        """

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        raise SegkitError(
            f"{type(self).__name__} combines several images of the training data, which are not available here: use it "
            "in data.train_transforms only"
        )


class Compose(Transform):
    """Applies transforms one after the other; nested Compose transforms are flattened."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms: list[Transform] = []
        for transform in transforms:
            self.transforms += transform.transforms if isinstance(transform, Compose) else [transform]

    def __call__(self, sample: Sample, generator: torch.Generator, load_other: LoadOther | None = None) -> Sample:
        """Transforms a sample.

        Args:
            sample: never changed in place.
            generator: source of all randomness.
            load_other: loads the other samples of mixing transforms.
        Raises:
            SegkitError: there is a mixing transform but no ``load_other``.
        """
        for i, transform in enumerate(self.transforms):
            sample = ready_for(transform, sample)
            if load_other is not None and isinstance(transform, MixingTransform):
                sample = transform.mix(sample, self._drawing(i, generator, load_other), generator)
            else:
                sample = transform(sample, generator)
            if not isinstance(sample, Sample):
                raise SegkitError(
                    f"the transform {type(transform).__name__} returns a {type(sample).__name__}; expected a Sample, "
                    "as by `return dataclasses.replace(sample, image=...)`"
                )
        return sample.materialised()

    def _drawing(self, count: int, generator: torch.Generator, load_other: LoadOther) -> Callable[[], Sample]:
        """A function that loads a random sample and applies the first ``count`` transforms."""
        before = Compose(self.transforms[:count])
        return lambda: before(load_other(generator), generator, load_other)


def ready_for(transform: Any, sample: Sample) -> Sample:
    """The sample with image and targets read, unless the transform reads windows."""
    for cls in type(transform).__mro__:
        if "reads_windows" in vars(cls) and vars(cls)["reads_windows"]:
            return sample
        if "__call__" in vars(cls):
            break
    return sample.materialised()


def build_transforms(specs: Sequence[Mapping[str, Any]], *, path: str = "data.transforms") -> Compose:
    """Builds transforms of specs, as ``{name: RandomHorizontalFlip, p: 0.5}``.

    ``path`` is the key path of the list.
    """
    transforms = [TRANSFORM_REGISTRY.build(spec, path=f"{path}[{i}]") for i, spec in enumerate(specs)]
    for i, (transform, spec) in enumerate(zip(transforms, specs, strict=True)):
        if not isinstance(transform, Transform) and not _takes_sample(transform):
            raise SegkitError(
                f"{path}[{i}]: {spec['name']} is a {type(transform).__name__}, which does not take a sample and a "
                "generator; derive it from segkit.data.transforms.Transform, or use one of torchvision.transforms.v2",
                key=path,
            )
    return Compose(transforms)


def _takes_sample(transform: Any) -> bool:
    """Whether an object can be called with a sample and a generator."""
    called = getattr(transform, "forward", transform)
    try:
        inspect.signature(called).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A uniformly distributed random number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def randint(low: int, high: int, generator: torch.Generator) -> int:
    """A random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def interval(value: float | Sequence[float], name: str) -> tuple[float, float]:
    """Converts one number d to (-d, d), and a pair to (low, high); ValueError for anything else."""
    ends = (-value, value) if isinstance(value, (int, float)) else tuple(value)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ValueError(f"{name}: expected one number from 0 on, or [low, high]; got {value}")
    return float(ends[0]), float(ends[1])


def check_probability(p: float) -> None:
    """Raises a ValueError unless p is in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability, 0 to 1; got {p}")
