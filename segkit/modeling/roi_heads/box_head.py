"""Box head: class and box deltas of each proposal (Fast R-CNN, Girshick 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.modeling.interfaces import BoxHead
from segkit.modeling.layers.activation import ActivationName, make_activation
from segkit.modeling.layers.box_loss import BoxLoss, box_loss_sum, check_box_loss
from segkit.modeling.layers.box_regression import apply_deltas
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.norm import NormName, make_norm
from segkit.modeling.layers.roi_pooler import ROIPooler
from segkit.modeling.layers.state_names import rename_layer
from segkit.registry import ROI_BOX_HEAD_REGISTRY
from segkit.utils.errors import SegkitError


@ROI_BOX_HEAD_REGISTRY.register
class FastRCNNHead(BoxHead):
    """RoIAlign, optional convolutions, fully connected layers, then class logits and box deltas.

    Args:
        in_features: the feature maps.
        num_classes: K; the background is logit K.
        levels: names of the maps to pool from.
        resolution: side of the pooled map.
        sampling_ratio: RoIAlign's samples in each bin and direction; 0 is adaptive.
        aligned: RoIAlign's half-pixel correction.
        conv_dims: widths of 3x3 convolutions, each with a norm, before the fully connected layers.
        fc_dims: widths of the fully connected layers.
        box_weights: factors of the deltas (dx, dy, dw, dh).
        class_agnostic: predict one box for all classes.
        norm: of the convolutions: ``bn``, ``frozen_bn``, ``sync_bn``, ``gn`` or a class, see :func:`make_norm`.
        activation: ``relu``, ``gelu``, ``silu`` or a class, see :func:`make_activation`.
        box_loss: ``smooth_l1`` of the deltas or ``giou`` of the boxes.
        smooth_l1_beta: of smooth L1; 0 is L1.
        loss_weight: factor of both losses.
        box_loss_weight: another factor of the box loss; for GIoU, which is smaller than smooth L1, usually above 1.
    """

    examples = ({"fc_dims": [16]}, {"fc_dims": [16], "conv_dims": [8], "class_agnostic": True})

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        num_classes: int,
        *,
        levels: Sequence[str] = ("p2", "p3", "p4", "p5"),
        resolution: int = 7,
        sampling_ratio: int = 2,
        aligned: bool = True,
        conv_dims: Sequence[int] = (),
        fc_dims: Sequence[int] = (1024, 1024),
        box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
        class_agnostic: bool = False,
        norm: NormName = "bn",
        activation: ActivationName = "relu",
        box_loss: BoxLoss = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        loss_weight: float = 1.0,
        box_loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_box_loss(box_loss)
        if not fc_dims or min([*fc_dims, *conv_dims]) < 1:
            raise SegkitError(
                f"fc_dims {list(fc_dims)} and conv_dims {list(conv_dims)}: expected widths of at least 1, one or more fc_dims"
            )
        self.pooler = ROIPooler(
            in_features, levels=levels, resolution=resolution, sampling_ratio=sampling_ratio, aligned=aligned
        )
        self.num_classes = num_classes
        self.class_agnostic = class_agnostic
        self.activation = make_activation(activation)
        self.box_weights = box_weights
        self.box_loss = box_loss
        self.smooth_l1_beta = smooth_l1_beta
        self.loss_weight = loss_weight
        self.box_loss_weight = box_loss_weight
        self.convs = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1, bias=False), make_norm(norm, b), make_activation(activation)
                )
                for a, b in pairwise([self.pooler.channels, *conv_dims])
            )
        )
        width = (conv_dims[-1] if conv_dims else self.pooler.channels) * resolution**2
        self.fcs = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([width, *fc_dims]))
        self.classifier = nn.Linear(fc_dims[-1], num_classes + 1)
        self.deltas = nn.Linear(fc_dims[-1], 4 * (1 if class_agnostic else num_classes))
        for fc in self.fcs:
            assert isinstance(fc, nn.Linear)
            nn.init.kaiming_uniform_(fc.weight, a=1)
            nn.init.zeros_(fc.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits [N, K + 1] and deltas [N, K or 1, 4] of all images' boxes."""
        hidden = self.convs(self.pooler(features, boxes)).flatten(1)
        for fc in self.fcs:
            hidden = self.activation(fc(hidden))
        return self.classifier(hidden), self.deltas(hidden).unflatten(1, (-1, 4))

    def losses(
        self,
        logits: Tensor,
        pred_deltas: Tensor,
        proposals: Tensor,
        labels: Tensor,
        gt_boxes: Tensor,
        unlabelled: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """``cls`` (cross-entropy) and ``box`` (of the object's class), over all sampled proposals.

        Args:
            logits: [N, K + 1].
            pred_deltas: [N, K or 1, 4].
            proposals: [N, 4].
            labels: int64 [N] classes, K for the background.
            gt_boxes: [N, 4] matched ground truth; ignored for background.
            unlabelled: bool [N, K + 1], logits that their row's softmax skips; None: none.
        """
        count = max(1, len(labels))
        logits = logits.float()
        if unlabelled is not None:
            logits = logits.masked_fill(unlabelled, -torch.inf)
        classification = F.cross_entropy(logits, labels, reduction="sum") / count
        positive = (labels < self.num_classes).nonzero().squeeze(1)
        column = torch.zeros_like(labels[positive]) if self.class_agnostic else labels[positive]
        box = box_loss_sum(
            pred_deltas[positive, column],
            proposals[positive],
            gt_boxes[positive],
            self.box_weights,
            kind=self.box_loss,
            beta=self.smooth_l1_beta,
        )
        return {
            "cls": classification * self.loss_weight,
            "box": box / count * self.loss_weight * self.box_loss_weight,
        }

    def decode(self, pred_deltas: Tensor, proposals: Tensor) -> Tensor:
        """Boxes [N, K, 4] of proposals [N, 4], not clipped."""
        boxes = apply_deltas(pred_deltas, proposals[:, None], self.box_weights)
        return boxes.expand(-1, self.num_classes, -1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rename_layer(self, state_dict, prefix, "offsets", "deltas")
        super()._load_from_state_dict(state_dict, prefix, *args)
