"""The interface of post-processing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.registry import POSTPROCESS_REGISTRY
from segkit.structures.detections import Detections


class PostProcessor(ABC):
    """Changes the detections of one image.

    Register one with ``@POSTPROCESS_REGISTRY.register``; its arguments are keyword-only.
    """

    @abstractmethod
    def __call__(self, detections: Detections) -> Detections:
        """Returns changed detections; the given ones stay as they are.

        Args:
            detections: in the pixels of the image's file, best first, on the CPU.
        Returns:
            Best first too. Masks that have changed are pixels (:meth:`Detections.from_masks`), and each box is that of
            its mask.
        """


class PostProcessing(PostProcessor):
    """Post-processors, applied one after the other."""

    def __init__(self, steps: Sequence[PostProcessor]) -> None:
        self.steps = list(steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __call__(self, detections: Detections) -> Detections:
        for step in self.steps:
            detections = step(detections)
        return detections


def build_postprocess(specs: Sequence[Mapping[str, Any]], path: str = "predict.postprocess") -> PostProcessing:
    """Builds the post-processing of ``predict.postprocess``.

    Args:
        specs: ``{name: X, argument: value}`` each, in order.
        path: the key, for messages.
    Raises:
        SegkitError: a name or an argument is wrong.
    """
    return PostProcessing([POSTPROCESS_REGISTRY.build(spec, path=f"{path}[{i}]") for i, spec in enumerate(specs)])
