"""What a feature map is, before there is one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureSpec:
    """One feature map that a backbone or neck publishes.

    Attributes:
        channels: number of channels.
        stride: input pixels per feature pixel, the same in both directions.
    """

    channels: int
    stride: int
