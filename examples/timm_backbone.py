"""Register a timm network with maps of strides 4, 8, 16 and 32 as a backbone."""

import timm
import torch
from torch import Tensor, nn

import segkit
from segkit.modeling import FeatureSpec


@segkit.BACKBONE_REGISTRY.register
class TimmBackbone(nn.Module):
    """A timm network with multiscale features.

    In a configuration: ``model.backbone={name: TimmBackbone, network: resnet26d}``.

    Args:
        network: timm's name of it.
        pretrained: with timm's weights.
    """

    def __init__(self, *, network: str = "resnet18", pretrained: bool = False) -> None:
        super().__init__()
        self.network = timm.create_model(
            network, pretrained=pretrained, features_only=True, out_indices=(-4, -3, -2, -1)
        )
        info = self.network.feature_info
        maps = zip(info.channels(), info.reduction(), strict=True)
        self.out_features = {f"stage{i}": FeatureSpec(channels=c, stride=s) for i, (c, s) in enumerate(maps, start=1)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.out_features, self.network(images), strict=True))


if __name__ == "__main__":
    cfg = segkit.load_config("segkit://quickstart.yaml", ["model.backbone={name: TimmBackbone, network: resnet10t}"])
    model = segkit.build_model(cfg, num_classes=4).eval()
    print({name: (spec.channels, spec.stride) for name, spec in model.backbone.out_features.items()})
    (detections,) = model.predict([torch.rand(3, 96, 128)])
    print(f"{len(detections)} detections, before any training")
