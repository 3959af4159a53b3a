"""Test-time augmentation: views of an image that are predicted and merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segkit.inference.augmentations.augmented_model import AugmentedModel
from segkit.inference.augmentations.base import TestAugmentation
from segkit.inference.augmentations.views import Flips, QuarterTurns, Scales
from segkit.registry import TEST_AUGMENTATION_REGISTRY

__all__ = ["AugmentedModel", "Flips", "QuarterTurns", "Scales", "TestAugmentation", "build_augmentations"]


def build_augmentations(
    specs: Sequence[Mapping[str, Any]], path: str = "predict.augmentations"
) -> list[TestAugmentation]:
    """Builds the augmentations of ``predict.augmentations``.

    Args:
        specs: ``{name: X, argument: value}`` each, in order.
        path: the key, for messages.
    Raises:
        SegkitError: a name or an argument is wrong.
    """
    return [TEST_AUGMENTATION_REGISTRY.build(spec, path=f"{path}.{i}") for i, spec in enumerate(specs)]
