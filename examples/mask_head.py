"""Your own mask head: a registered class with ``forward`` and ``losses``."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import segkit
from segkit.modeling import FeatureSpec, MaskHead, ROIPooler


@segkit.ROI_MASK_HEAD_REGISTRY.register
class DiceMaskHead(MaskHead):
    """Two convolutions, one mask for all classes, and the Dice loss (Milletari et al. 2016).

    Args:
        in_features: the feature maps.
        channels: of the convolution between the pooled map and the mask.
    """

    def __init__(self, in_features: Mapping[str, FeatureSpec], *, channels: int = 64) -> None:
        super().__init__()
        self.resolution = 28  # M: masks are M x M in their boxes
        levels = ["p2", "p3"]
        self.pooler = ROIPooler(in_features, levels=levels, resolution=28, sampling_ratio=2, aligned=True)
        self.hidden = nn.Conv2d(self.pooler.channels, channels, 3, padding=1)
        self.mask = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Logits [N, M, M] of all images' boxes."""
        return self.mask(F.relu(self.hidden(self.pooler(features, boxes))))[:, 0]

    def losses(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """``mask``: one minus the Dice overlap, over logits and bool targets [N, M, M]."""
        probabilities, targets = logits.float().sigmoid().flatten(1), targets.flatten(1).float()
        overlap = 2 * (probabilities * targets).sum(1) / (probabilities.sum(1) + targets.sum(1)).clamp(min=1)
        return {"mask": (1 - overlap).sum() / max(1, len(overlap))}


if __name__ == "__main__":
    cfg = segkit.load_config(
        "segkit://quickstart.yaml", ["model.roi_heads.mask_head={name: DiceMaskHead, channels: 32}"]
    )
    data = segkit.data.Synthetic(num_images=1, image_size=(96, 96), max_objects=12)
    torch.manual_seed(0)
    model, sample = segkit.build_model(cfg, num_classes=4), data.load(0)
    losses = model.losses([sample.image], [sample.targets])
    losses["mask"].backward()
    print({name: round(loss.item(), 3) for name, loss in losses.items()})
    (detections,) = model.eval().predict([sample.image])
    print(f"{len(detections)} detections with masks of {tuple(detections.mask_probs.shape[1:])} probabilities")
