"""Anchors: the boxes that the RPN starts from (Ren et al. 2015, section 3.1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from segkit.modeling.layers.feature_spec import FeatureSpec, check_features
from segkit.registry import ANCHOR_GENERATOR_REGISTRY
from segkit.utils.errors import SegkitError


@ANCHOR_GENERATOR_REGISTRY.register
class AnchorGenerator(nn.Module):
    """Anchors of the same sizes and shapes at every pixel of a level.

    Args:
        in_features: the feature maps, finest first.
        sizes: side in pixels of the square anchor, a list for each level; a single list holds for all levels.
        aspect_ratios: height / width; all anchors of a size have the same area.
        offset: centre of a pixel's anchors, in strides from the pixel's corner: 0, as in Detectron2 and torchvision, or
            0.5 for the pixel's centre.
        rounded: round the corners of the base anchors to whole pixels, as torchvision does.
        whole_strides: use padded image side // map side in place of the level's stride, as torchvision does; the two
            differ on the coarsest level if the image is no multiple of its stride.
    """

    device_marker: Tensor

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        *,
        sizes: Sequence[Sequence[float]] = ((32,), (64,), (128,), (256,), (512,)),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        offset: float = 0.0,
        rounded: bool = False,
        whole_strides: bool = False,
    ) -> None:
        super().__init__()
        check_features(in_features, "in_features")
        if len(sizes) not in (1, len(in_features)):
            raise SegkitError(
                f"sizes: {len(sizes)} lists for the {len(in_features)} levels {', '.join(in_features)}; give one list for "
                "each level"
            )
        if any(size <= 0 for level in sizes for size in level) or any(ratio <= 0 for ratio in aspect_ratios):
            raise SegkitError("sizes and aspect_ratios must be above 0")
        per_level = list(sizes) * (len(in_features) if len(sizes) == 1 else 1)
        if len({len(level) for level in per_level}) != 1 or not per_level[0] or not aspect_ratios:
            raise SegkitError("sizes: every level needs the same number of sizes, at least one, and an aspect ratio")
        self.strides = [spec.stride for spec in in_features.values()]
        self.offset = offset
        self.rounded = rounded
        self.whole_strides = whole_strides
        self.num_sizes = len(per_level[0])
        self.num_anchors = len(per_level[0]) * len(aspect_ratios)
        self.base = [base_anchors(level_sizes, aspect_ratios, rounded) for level_sizes in per_level]
        # Follows the model to its device, where the anchors are made. The base anchors themselves are no buffers, since
        # a model cast to half precision would round them.
        self.register_buffer("device_marker", torch.zeros(0), persistent=False)

    def forward(self, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Anchors of each level.

        Args:
            grids: (height, width) of each level's map.
        Returns:
            for each level [height * width * num_anchors, 4] XYXY in pixels of the padded image, fp32.
        """
        padded = [side * self.strides[0] for side in grids[0]]
        anchors = []
        for (height, width), stride, base in zip(grids, self.strides, self.base, strict=True):
            step_y, step_x = (padded[0] // height, padded[1] // width) if self.whole_strides else (stride, stride)
            base = base.to(self.device_marker.device)
            x = (torch.arange(width, dtype=torch.float32, device=base.device) + self.offset) * step_x
            y = (torch.arange(height, dtype=torch.float32, device=base.device) + self.offset) * step_y
            grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
            shifts = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=-1)  # [H, W, 4]
            anchors.append((shifts[:, :, None] + base).reshape(-1, 4))
        return anchors


def base_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float], rounded: bool) -> Tensor:
    """Base anchors [R * S, 4] centred on the origin: S sizes of the first ratio, then the next."""
    side = torch.tensor(list(sizes), dtype=torch.float32)
    ratio = torch.sqrt(torch.tensor(list(aspect_ratios), dtype=torch.float32))
    heights = (ratio[:, None] * side).reshape(-1)
    widths = (side / ratio[:, None]).reshape(-1)
    base = torch.stack([-widths, -heights, widths, heights], dim=1) / 2
    return base.round() if rounded else base
