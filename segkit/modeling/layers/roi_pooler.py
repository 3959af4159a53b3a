"""RoIAlign of a batch's boxes, each from the pyramid level that fits its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.roi_align import assign_levels, multilevel_roi_align
from segkit.utils.errors import SegkitError, did_you_mean


class ROIPooler(nn.Module):
    """Pools each box from the level that fits its size.

    Args:
        in_features: the published feature maps.
        levels: names of the maps to pool from, in the order of their strides.
        resolution: side of the output, in bins.
        sampling_ratio: samples in each bin and direction; 0 is adaptive.
        aligned: RoIAlign's half-pixel correction.
        canonical_size: side, in pixels, of a square box that belongs to the level of stride 16.
    """

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        *,
        levels: Sequence[str],
        resolution: int,
        sampling_ratio: int = 2,
        aligned: bool = True,
        canonical_size: float = 224.0,
    ) -> None:
        super().__init__()
        for level in levels:
            if level not in in_features:
                raise SegkitError(f"levels: no feature map is called '{level}'{did_you_mean(level, in_features)}")
        if resolution < 1 or sampling_ratio < 0:
            raise SegkitError(f"resolution {resolution} and sampling_ratio {sampling_ratio}: expected at least 1 and 0")
        channels = {in_features[level].channels for level in levels}
        if len(channels) != 1:
            raise SegkitError(f"levels {list(levels)} must share one number of channels, they have {sorted(channels)}")
        self.levels = list(levels)
        self.strides = [in_features[level].stride for level in levels]
        self.channels = channels.pop()
        self.resolution = resolution
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.canonical_size = canonical_size

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pools boxes [N_i, 4] of each image to [sum N_i, C, resolution, resolution]."""
        counts = torch.tensor([len(b) for b in boxes])
        images = torch.repeat_interleave(torch.arange(len(boxes)), counts).to(boxes[0].device)
        all_boxes = torch.cat(list(boxes)).float()
        levels = assign_levels(all_boxes, self.strides, self.canonical_size, canonical_stride=16)
        maps = [features[level] for level in self.levels]
        return multilevel_roi_align(
            maps, self.strides, all_boxes, images, levels, self.resolution, self.sampling_ratio, self.aligned
        )
