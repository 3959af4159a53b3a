"""The interface of test-time augmentations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.sample import Sample

View = Callable[[Sample], Sample]


class TestAugmentation(ABC):
    """Makes views of an image, which are predicted and merged.

    Register one with ``@TEST_AUGMENTATION_REGISTRY.register``; its arguments are keyword-only.
    """

    __test__ = False  # pytest: not a class of tests

    @abstractmethod
    def views(self) -> list[View]:
        """Functions from the network's input to its views, the unchanged image among them.

        Each records what it does in ``sample.geometry``, as the functions of
        :mod:`segkit.data.transforms.geometry` do; only flips, turns and resizes can be inverted here.
        """


def unchanged(sample: Sample) -> Sample:
    """The view of the image itself."""
    return sample


def combined_views(augmentations: Sequence[TestAugmentation], sample: Sample) -> list[Sample]:
    """All combinations of the augmentations' views of an image, each once, in order.

    Args:
        augmentations: applied one after the other.
        sample: the network's input; its geometry is taken as that of a file.
    """
    views = [sample]
    for augmentation in augmentations:
        views = [change(view) for view in views for change in augmentation.views()]
    first: dict[ImageGeometry, Sample] = {}
    for view in views:
        first.setdefault(view.known_geometry, view)
    return list(first.values())
