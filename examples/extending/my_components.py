"""Your own components: a backbone, a transform and a hook. `train.yaml` uses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segkit import BACKBONE_REGISTRY, HOOK_REGISTRY, TRANSFORM_REGISTRY
from segkit.data import Transform
from segkit.engine import Hook, Trainer
from segkit.modeling import FeatureSpec
from segkit.structures import Sample


@BACKBONE_REGISTRY.register
class PlainNet(nn.Module):
    """Four strided convolutions.

    A backbone has ``out_features``; its ``forward`` returns a map for each of them.

    Args:
        width: channels of the first stage; each stage doubles them.
    """

    def __init__(self, *, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width}")
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU())
        self.stages = nn.ModuleDict()
        self.out_features: dict[str, FeatureSpec] = {}
        channels = width
        for i in range(4):
            name = f"stage{i + 1}"
            self.stages[name] = nn.Sequential(
                nn.Conv2d(channels, width << i, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width << i),
                nn.ReLU(),
            )
            channels = width << i
            self.out_features[name] = FeatureSpec(channels=channels, stride=4 << i)

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        """[B, 3, H, W] to maps of strides 4, 8, 16 and 32."""
        x = self.stem(x)
        features = {}
        for name, stage in self.stages.items():
            features[name] = x = stage(x)
        return features


@TRANSFORM_REGISTRY.register
class RandomChannelSwap(Transform):
    """Puts the colour channels in another order: colours then say nothing about the class.

    Args:
        p: probability.
    """

    inversion = "identity"  # every pixel stays in its place, so it may be a test transform too

    def __init__(self, *, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        # All randomness comes from the generator: so a run can be repeated and resumed exactly.
        if torch.rand((), generator=generator) >= self.p:
            return sample
        order = torch.randperm(sample.image.shape[0], generator=generator)
        return dataclasses.replace(sample, image=sample.image[order])


@HOOK_REGISTRY.register
class WeightNorm(Hook):
    """Logs the norm of all weights to metrics.json and TensorBoard as ``weight_norm``.

    Args:
        period: iterations between two measurements.
    """

    def __init__(self, *, period: int = 10) -> None:
        self.period = period

    def after_step(self, trainer: Trainer) -> None:
        if trainer.iteration % self.period == 0:
            squares = [parameter.detach().float().pow(2).sum() for parameter in trainer.model.parameters()]
            trainer.log("weight_norm", torch.stack(squares).sum().sqrt())
