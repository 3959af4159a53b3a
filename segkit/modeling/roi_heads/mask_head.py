"""Mask head: mask logits of each object (Mask R-CNN, He et al. 2017, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from segkit.modeling.interfaces import MaskHead
from segkit.modeling.layers.activation import ActivationName, make_activation
from segkit.modeling.layers.class_conv import ClassConv
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.norm import NormName, make_norm
from segkit.modeling.layers.roi_pooler import ROIPooler
from segkit.registry import ROI_MASK_HEAD_REGISTRY
from segkit.utils.errors import SegkitError


@ROI_MASK_HEAD_REGISTRY.register
class FCNMaskHead(MaskHead):
    """RoIAlign, 3x3 convolutions, a transposed convolution of stride 2, then mask logits.

    Args:
        in_features: the feature maps.
        num_classes: K.
        levels: names of the maps to pool from.
        resolution: side of the pooled map; masks have twice that side.
        sampling_ratio: RoIAlign's samples in each bin and direction; 0 is adaptive.
        aligned: RoIAlign's half-pixel correction.
        conv_dims: widths of the convolutions; the last is also that of the transposed convolution.
        norm: of each convolution, in place of a bias: ``bn``, ``frozen_bn``, ``sync_bn``, ``gn`` or a class, see
            :func:`make_norm`; null: none.
        activation: ``relu``, ``gelu``, ``silu`` or a class, see :func:`make_activation`.
        class_agnostic: predict one mask for all classes.
        loss_weight: factor of the loss.
    """

    examples = ({"conv_dims": [8]}, {"conv_dims": [8], "class_agnostic": True})

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        num_classes: int,
        *,
        levels: Sequence[str] = ("p2", "p3", "p4", "p5"),
        resolution: int = 14,
        sampling_ratio: int = 2,
        aligned: bool = True,
        conv_dims: Sequence[int] = (256, 256, 256, 256),
        norm: NormName | None = None,
        activation: ActivationName = "relu",
        class_agnostic: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not conv_dims or min(conv_dims) < 1:
            raise SegkitError(f"conv_dims {list(conv_dims)}: expected one or more widths of at least 1")
        self.pooler = ROIPooler(
            in_features, levels=levels, resolution=resolution, sampling_ratio=sampling_ratio, aligned=aligned
        )
        self.class_agnostic = class_agnostic
        self.loss_weight = loss_weight
        self.resolution = 2 * resolution
        self.activation = make_activation(activation)
        convs = [
            nn.Conv2d(a, b, 3, padding=1, bias=norm is None) for a, b in pairwise([self.pooler.channels, *conv_dims])
        ]
        self.upsample = nn.ConvTranspose2d(conv_dims[-1], conv_dims[-1], 2, stride=2)
        self.predictor = ClassConv(conv_dims[-1], 1 if class_agnostic else num_classes)
        for module in (*convs, self.upsample, self.predictor):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        # As in Detectron2, so that every mask pixel starts near a probability of one half. Kaiming's initialisation
        # would make the first loss four times as large, and gradient clipping would then shrink all other gradients.
        nn.init.normal_(self.predictor.weight, std=0.001)
        self.convs = nn.ModuleList(
            conv if norm is None else nn.Sequential(conv, make_norm(norm, conv.out_channels)) for conv in convs
        )

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Mask logits [N, M, M] of all images' boxes, one after the other, each for its own class.

        Args:
            features: maps [B, C, H, W] by name.
            boxes: [N_i, 4] of each image.
            labels: int64 [N] classes of all boxes.
        """
        hidden = self.pooler(features, boxes)
        for conv in self.convs:
            hidden = self.activation(conv(hidden))
        return self.predictor(self.activation(self.upsample(hidden)), labels)

    def losses(self, logits: Tensor, mask_targets: Tensor) -> dict[str, Tensor]:
        """``mask``: mean binary cross-entropy.

        Args:
            logits: [N, M, M] of the foreground proposals.
            mask_targets: bool [N, M, M].
        """
        logits = logits.float()
        total = F.binary_cross_entropy_with_logits(logits, mask_targets.to(logits.dtype), reduction="sum")
        return {"mask": total / max(1, mask_targets.numel()) * self.loss_weight}
