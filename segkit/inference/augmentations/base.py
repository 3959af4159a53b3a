"""The interface of test-time augmentations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError

View = Callable[[Sample], Sample]


class TestAugmentation(ABC):
    """Makes views of an image, which are predicted and merged.

    Register one with ``@TEST_AUGMENTATION_REGISTRY.register``; its arguments are keyword-only.
    """

    __test__ = False  # pytest: not a class of tests

    @abstractmethod
    def views(self) -> list[View]:
        """Functions from the network's input to its views.

        The unchanged image is always a view, named here or not.
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
    Returns:
        The views, the unchanged image first.
    Raises:
        SegkitError: a view does not show the whole image, or has no exact inverse.
    """
    views = [sample]
    for augmentation in augmentations:
        views = [change(view) for view in views for change in augmentation.views()]
        for view in views:
            _check_invertible(view.known_geometry, type(augmentation).__name__)
    first: dict[ImageGeometry, Sample] = {sample.known_geometry: sample}
    for view in views:
        first.setdefault(view.known_geometry, view)
    return list(first.values())


def _check_invertible(geometry: ImageGeometry, name: str) -> None:
    """Raises a SegkitError if boxes and masks of a view of the augmentation ``name`` cannot be mapped back."""
    height, width = geometry.upright_size
    if geometry.obstacle or geometry.upright_region != (0, 0, width, height):
        done = geometry.obstacle or "a crop"
        raise SegkitError(
            f"predict.augmentations: a view of {name} has no exact inverse ({done}); use flips, quarter turns and resizes",
            key="predict.augmentations",
        )
