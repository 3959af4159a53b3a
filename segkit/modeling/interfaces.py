"""Interfaces of the components of a two-stage detector.

Your own component derives from one of these classes.

A class may have ``examples``, a sequence of arguments as they stand in a configuration. The tests over the registries
build the component with each of them, or with its defaults if there are none.
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
    """Proposes boxes that may contain objects.

    ``forward(features)`` returns an output of any type, which is passed to the methods below.
    """

    @abstractmethod
    def losses(self, output: Any, targets: Sequence[Targets], generator: torch.Generator | None) -> dict[str, Tensor]:
        """Training losses by name, scalars.

        Args:
            output: of ``forward``.
            targets: of each image.
            generator: source of randomness; None: torch's global random state.
        """

    @abstractmethod
    def scored_proposals(
        self, output: Any, sizes: Sequence[tuple[int, int]], training: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """Proposals [P_i, 4] XYXY of each image and their objectness logits [P_i], best first.

        Args:
            output: of ``forward``.
            sizes: (height, width) of each image.
            training: whether the proposals are for training, which usually takes more of them.
        """

    def proposals(self, output: Any, sizes: Sequence[tuple[int, int]], training: bool) -> list[Tensor]:
        """The boxes of :meth:`scored_proposals` alone."""
        return [boxes for boxes, _ in self.scored_proposals(output, sizes, training)]


class BoxHead(nn.Module, ABC):
    """Predicts class and box of each proposal.

    ``forward(features, boxes)`` returns class logits [N, K + 1] and box deltas [N, K or 1, 4].

    Attributes:
        class_agnostic: whether one box is predicted for all classes.
    """

    class_agnostic: bool = False

    @abstractmethod
    def losses(
        self,
        logits: Tensor,
        pred_deltas: Tensor,
        proposals: Tensor,
        labels: Tensor,
        gt_boxes: Tensor,
        unlabelled: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Training losses by name, scalars.

        Args:
            logits: [N, K + 1], of ``forward``.
            pred_deltas: [N, K or 1, 4], of ``forward``.
            proposals: [N, 4] XYXY.
            labels: int64 [N] classes, K for the background.
            gt_boxes: [N, 4] XYXY matched ground truth, zeros for background.
            unlabelled: bool [N, K + 1], logits that get no gradient: a background box is no evidence against a class
                that is not annotated everywhere in its image. None, the usual case: there are none.
        """

    @abstractmethod
    def decode(self, pred_deltas: Tensor, proposals: Tensor) -> Tensor:
        """Boxes [N, K, 4] XYXY of the proposals [N, 4], moved by their deltas [N, K or 1, 4]."""


class MaskHead(nn.Module, ABC):
    """Predicts a mask in each box.

    ``forward(features, boxes, labels)`` returns logits [N, M, M], each box's for its own class. The labels are known in
    training and at test, so that no head has to compute the masks of all classes.

    Attributes:
        resolution: M.
        warned_of_missing_masks: whether a warning about objects without masks has been logged.
    """

    resolution: int
    warned_of_missing_masks: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "of_class" in vars(cls):
            raise SegkitError(
                f"{cls.__name__}.of_class: a mask head's forward(features, boxes, labels) now returns the logits "
                "[N, M, M] of each box's class, and losses(logits, mask_targets) takes them; move the choice of the "
                "class there"
            )

    @abstractmethod
    def losses(self, logits: Tensor, mask_targets: Tensor) -> dict[str, Tensor]:
        """Training losses by name, scalars.

        Args:
            logits: [N, M, M], of ``forward``.
            mask_targets: bool [N, M, M].
        """


class ROIHeads(nn.Module, ABC):
    """Second stage of a detector: class, box and mask of each proposal.

    Attributes:
        score_threshold: detections with a lower score are removed.
        detections_per_image: number of detections of an image at most.
    """

    score_threshold: float
    detections_per_image: int

    @property
    def predicts_masks(self) -> bool:
        """Whether detections have masks: whether ``mask_head`` is a module."""
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

        Args:
            features: maps [B, C, H, W] by name.
            proposals: [P_i, 4] XYXY of each image.
            targets: of each image, in the pixels of the network's input.
            generator: source of randomness; None: torch's global random state.
            sizes: (height, width) of each image, for heads that move boxes before they train on them.
        """

    @abstractmethod
    def predict(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detections of each image, best first, in the pixels of the network's input."""

    def predict_boxes(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """As :meth:`predict`, without masks. Test-time augmentation needs it."""
        found = self.predict(features, proposals, sizes)
        return [Detections(one.boxes, one.scores, one.labels, None, one.size) for one in found]

    def mask_probs(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> list[Tensor]:
        """Probabilities of masks [N_i, M, M] in given boxes of each image.

        Args:
            features: maps [B, C, H, W] by name.
            boxes: [N_i, 4] of each image.
            labels: int64 [N_i] of each image.
        Raises:
            SegkitError: the heads predict no masks.
        """
        mask_head = getattr(self, "mask_head", None)
        if not isinstance(mask_head, MaskHead):
            raise SegkitError(
                f"{type(self).__name__} has no mask_probs(features, boxes, labels), which test-time augmentation needs",
                key="model.roi_heads",
            )
        logits = mask_head(features, list(boxes), torch.cat(list(labels)))
        return list(logits.float().sigmoid().split([len(image) for image in boxes]))

    def class_log_probs(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Logarithms of the class probabilities [N, K + 1] of given boxes, the background last.

        The probabilities are those that :meth:`predict` computes of proposals. Only the search for wrong annotations
        (:mod:`segkit.modeling.object_losses`) needs this method.

        Args:
            features: maps [B, C, H, W] by name.
            boxes: [N_i, 4] of each image.
            sizes: (height, width) of each image.
        """
        name = type(self).__name__
        raise SegkitError(
            f"{name} has no class_log_probs(features, boxes, sizes), from which the losses of objects are computed; define "
            "it as in segkit.modeling.StandardROIHeads",
            key="model.roi_heads",
        )
