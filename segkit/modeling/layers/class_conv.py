"""A convolution of which each sample wants one channel only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ALL_UP_TO = 24  # channels: on a CPU one convolution for all samples takes no longer than a product each


class ClassConv(nn.Conv2d):
    """A 1x1 convolution with a channel a class, worked out for each sample's own class alone.

    Parameters, their names and their start are those of ``nn.Conv2d``. With 80 classes the other 79 channels would be the
    largest tensor of a mask head, in both directions.

    Args:
        in_channels: C.
        classes: channels; with one it is everybody's.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """[N, C, H, W] and the classes [N] to [N, H, W]."""
        if self.out_channels == 1:
            return super().forward(x)[:, 0]
        if self.out_channels <= ALL_UP_TO:
            return super().forward(x)[torch.arange(len(labels), device=labels.device), labels]
        assert self.bias is not None
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [N, HW, C], a view of either memory format
        weight = self.weight.flatten(1)[labels]
        # Not baddbmm, which the counting of FLOPs does not know.
        logits = torch.bmm(pixels, weight[:, :, None]).view(len(x), *x.shape[2:])
        return logits + self.bias[labels][:, None, None]
