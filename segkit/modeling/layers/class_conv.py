"""1x1 convolution that computes one output channel for each sample: that of its class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_DENSE_CLASSES = 24  # up to here, on a CPU, computing all classes takes no longer than one product for each sample


class ClassConv(nn.Conv2d):
    """A 1x1 convolution with a channel for each class, computed for each sample's class only.

    Parameters, their names and initialisation are those of ``nn.Conv2d``. With 80 classes, the output of all channels would
    be the largest tensor of a mask head, forward and backward.

    Args:
        in_channels: C.
        classes: K, output channels; with 1, that channel serves all samples.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Output [N, H, W] of ``x`` [N, C, H, W] for the classes ``labels`` [N]."""
        if self.out_channels == 1:
            return super().forward(x)[:, 0]
        if self.out_channels <= MAX_DENSE_CLASSES:
            return super().forward(x)[torch.arange(len(labels), device=labels.device), labels]
        assert self.bias is not None
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [N, HW, C], a view of either memory format
        weight = self.weight.flatten(1)[labels]
        # Not baddbmm, which torch's FLOP counter does not count.
        logits = torch.bmm(pixels, weight[:, :, None]).view(len(x), *x.shape[2:])
        return logits + self.bias[labels][:, None, None]
