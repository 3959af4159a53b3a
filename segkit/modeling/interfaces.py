"""What the parts of a two-stage detector owe each other. A part of your own derives from the class of its place.

A class may have ``examples``, a sequence of arguments as a configuration gives them: with these, in place of its defaults, the
tests over the registries try it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segkit.structures.detections import Detections
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


class ProposalGenerator(nn.Module, ABC):
    """Says where objects may be. ``forward(features)`` gives what the methods below take, in a form of its own."""

    @abstractmethod
    def losses(self, output: Any, targets: Sequence[Targets], generator: torch.Generator | None) -> dict[str, Tensor]:
        """Training losses by name, scalars. ``generator`` draws; None: torch's global random state does."""

    @abstractmethod
    def scored_proposals(
        self, output: Any, sizes: Sequence[tuple[int, int]], training: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """Boxes [P_i, 4] XYXY of each image of (height, width) and, as logits [P_i], how much each looks like an object.

        Best first; more of them for training.
        """

    def proposals(self, output: Any, sizes: Sequence[tuple[int, int]], training: bool) -> list[Tensor]:
        """The boxes alone."""
        return [boxes for boxes, _ in self.scored_proposals(output, sizes, training)]


class BoxHead(nn.Module, ABC):
    """Classifies and moves boxes. ``forward(features, boxes)`` gives logits [N, K + 1] and offsets [N, K or 1, 4].

    Attributes:
        class_agnostic: one box serves all classes.
    """

    class_agnostic: bool = False

    @abstractmethod
    def losses(
        self, logits: Tensor, offsets: Tensor, proposals: Tensor, labels: Tensor, objects: Tensor
    ) -> dict[str, Tensor]:
        """Training losses by name, scalars; labels [N] with K for the background, objects [N, 4] what each should be."""

    @abstractmethod
    def decode(self, offsets: Tensor, proposals: Tensor) -> Tensor:
        """Boxes [N, K, 4]."""


class MaskHead(nn.Module, ABC):
    """Draws masks. ``forward(features, boxes, labels)`` gives logits [N, M, M], each box's of its own class.

    ``labels`` [N] are known in training and at test, so that no head needs to work out the masks of all classes.

    Attributes:
        resolution: M.
        warned_of_missing_masks: a warning has said that there are objects without a mask.
    """

    resolution: int
    warned_of_missing_masks: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "of_class" in vars(cls):
            raise SegkitError(
                f"{cls.__name__}.of_class: a mask head's forward(features, boxes, labels) now gives the logits [N, M, M] of "
                "each box's class, and losses(logits, wanted) takes them; move the choice of the class there"
            )

    @abstractmethod
    def losses(self, logits: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Training losses by name, scalars; logits [N, M, M], wanted [N, M, M] bool."""


class ROIHeads(nn.Module, ABC):
    """Decides about proposals.

    Attributes:
        score_threshold: detections below are dropped.
        detections_per_image: how many an image has at most.
    """

    score_threshold: float
    detections_per_image: int

    @property
    def predicts_masks(self) -> bool:
        """Whether the detections have masks: where ``mask_head`` is a module."""
        return getattr(self, "mask_head", None) is not None

    @abstractmethod
    def losses(
        self,
        features: Mapping[str, Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Targets],
        generator: torch.Generator | None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> dict[str, Tensor]:
        """Training losses by name, scalars.

        ``generator`` draws; None: torch's global random state does. ``sizes`` are the images' (height, width), which heads
        need that move boxes before they learn from them.
        """

    @abstractmethod
    def predict(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detections of each image, best first, in the pixels of the network's input."""
