"""Base class of backbones: stages, published maps, freezing, pretrained weights.

A backbone need not derive from :class:`Backbone`. Any module will do that has ``out_features`` and whose ``forward``
returns a dictionary with the same keys.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.freezing import eval_frozen, freeze_parameters, freeze_stages
from segkit.modeling.layers.recompute import recomputed
from segkit.modeling.layers.stem import adapt_stem_weight, replace_stem
from segkit.modeling.weights.torchvision_classification import load_classification_weights, skipping_pretrained
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)


class Backbone(nn.Module):
    """A chain of stages: a stem, then ``stage1``, ``stage2``, ... of strides 4, 8, ...

    A subclass builds its layers under any names, such as those of a published checkpoint, and then calls
    :meth:`complete`.

    Attributes:
        out_features: shapes of the maps that ``forward`` returns, by name, finest first.
        stage_paths: names of the layers of the stem and of each stage.
        in_channels: channels of the images.
        stem_path: name of the first convolution; empty if it is not known.
        gradient_checkpointing: whether stages are run again in the backward pass.
        examples: arguments with which the tests build the backbone; by default none.
    """

    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    out_features: dict[str, FeatureSpec]
    stage_paths: list[list[str]]
    in_channels: int
    stem_path: str
    gradient_checkpointing: bool

    def complete(
        self,
        stage_paths: Sequence[Sequence[str]],
        channels: Sequence[int],
        *,
        out_stages: Sequence[str] | None,
        trainable_stages: int | None,
        freeze: Sequence[str],
        weights: str | None = None,
        weights_of: str | None = None,
        head: Sequence[str] = (),
        stem: str = "",
        in_channels: int = 3,
        gradient_checkpointing: bool = False,
    ) -> None:
        """Declares the stages, adapts the stem to the images, loads weights and freezes.

        Args:
            stage_paths: names of the layers of the stem and of each stage, in the order they run.
            channels: output channels of each stage, without the stem.
            out_stages: the stages whose maps are published, such as ``["stage2", "stage3"]``; None: all. Stages after the
                last of them are removed.
            trainable_stages: how many stages train, counted from the output; None: all.
            freeze: shell patterns of parameter names.
            weights: name of torchvision weights, or a file, or a URL.
            weights_of: the torchvision model whose weights fit, such as ``convnext_tiny``; None: there is none.
            head: prefixes of that model's parameters that the backbone does not have.
            stem: name of the first convolution, built for 3 channels; needed if ``in_channels`` differs.
            in_channels: channels of the images; for weights for RGB see :func:`adapt_stem_weight`.
            gradient_checkpointing: keep only each stage's input and run the stage again in the backward pass.
        """
        assert len(stage_paths) == len(channels) + 1, "a stem, and one channel count for each stage"
        names = [f"stage{i + 1}" for i in range(len(channels))]
        published = names if out_stages is None else list(out_stages)
        for name in published:
            if name not in names:
                raise SegkitError(
                    f"out_stages: there is no '{name}'{did_you_mean(name, names)}", key="out_stages", value=name
                )
        if not published:
            raise SegkitError("out_stages is empty; a backbone publishes at least one stage", key="out_stages")
        last = max(names.index(name) for name in published) + 1
        self.in_channels = in_channels
        self.gradient_checkpointing = gradient_checkpointing
        self.stem_path = stem
        if in_channels != 3:
            replace_stem(self, stem, in_channels)
        removed = [path for paths in stage_paths[last + 1 :] for path in paths]
        for path in removed:  # so that every parameter has a gradient
            parent, _, child = path.rpartition(".")
            delattr(self.get_submodule(parent), child)
        self.stage_paths = [list(paths) for paths in stage_paths[: last + 1]]
        self.out_features = {
            name: FeatureSpec(channels[i], 2 ** (i + 2)) for i, name in enumerate(names) if name in published
        }
        if weights is not None:
            load_classification_weights(
                self,
                weights,
                weights_of,
                skip=[*head, *(f"{path}." for path in removed)],
                convert=self.convert_weights,
            )
        freeze_stages(self.stages, trainable_stages)
        freeze_parameters(self, freeze)
        frozen = sum(p.numel() for p in self.parameters() if not p.requires_grad)
        if frozen and weights is None and not skipping_pretrained():
            logger.warning(
                "%s: %d parameters are frozen at random values: weights is null", type(self).__name__, frozen
            )

    @property
    def stages(self) -> list[nn.Module]:
        """The stem and the stages, input to output."""
        return [nn.Sequential(*(self.get_submodule(path) for path in paths)) for paths in self.stage_paths]

    def train(self, mode: bool = True) -> Backbone:
        """As for any module, but frozen submodules stay in eval mode."""
        super().train(mode)
        if mode:
            eval_frozen(self)
        return self

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A classifier's state dict by this backbone's names and shapes; here only the stem changes."""
        key = f"{self.stem_path}.weight"
        if self.in_channels == 3 or key not in state or state[key].shape[1] != 3:
            return state
        return {**state, key: adapt_stem_weight(state[key], self.in_channels)}

    def publish(self, name: str, x: Tensor) -> Tensor:
        """Hook for subclasses: the map that is published of a stage's output ``x``."""
        return x

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Feature maps of normalised images.

        Args:
            x: [B, in_channels, H, W].
        Returns:
            for each name in ``out_features`` [B, channels, ~H / stride, ~W / stride], channels last in memory.
        """
        # Convolutions and norms are faster with channels last, on CPUs and GPUs, and ConvNeXt's and RoIAlign's
        # permutations become views. Frozen leading stages need no no_grad(): autograd records nothing for them.
        x = x.contiguous(memory_format=torch.channels_last)
        features: dict[str, Tensor] = {}
        for index, paths in enumerate(self.stage_paths):
            if self.gradient_checkpointing:
                x = recomputed(partial(self._run, paths), x, [self.get_submodule(path) for path in paths])
            else:
                x = self._run(paths, x)
            name = f"stage{index}"  # stage0 is the stem
            if name in self.out_features:
                features[name] = self.publish(name, x)
        return features

    def _run(self, paths: Sequence[str], x: Tensor) -> Tensor:
        for path in paths:
            x = self.get_submodule(path)(x)
        return x
