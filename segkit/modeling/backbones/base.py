"""What the backbones here share: stages, what they publish, freezing, pretrained weights.

A backbone need not derive from :class:`Backbone`: any module with ``out_features`` and a ``forward`` that returns a
dictionary with the same keys will do.
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

    A subclass builds its layers under any names (those of a published checkpoint, say) and then calls :meth:`complete`.

    Attributes:
        out_features: what ``forward`` gives, by name, finest first.
        stage_paths: for the stem and each stage, the names of the layers it is made of.
        in_channels: channels of the images.
        gradient_checkpointing: whether stages are run again in backward.
        examples: arguments with which the tests try the backbone, where its defaults are heavy or missing.
    """

    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    out_features: dict[str, FeatureSpec]
    stage_paths: list[list[str]]
    in_channels: int
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
        """Declare the stages, fit the stem to the images, load weights, freeze.

        Args:
            stage_paths: names of the layers of the stem and of each stage, in the order they run.
            channels: number of channels each stage gives (none for the stem).
            out_stages: the stages to publish, as ``["stage2", "stage3"]``; None: all. Stages after the last are removed.
            trainable_stages: how many stages train, counted from the output; None: all.
            freeze: shell patterns of parameter names.
            weights: name of torchvision weights, or a file, or a URL.
            weights_of: the torchvision model whose weights fit, as ``convnext_tiny``; None: there is none.
            head: prefixes of that model's parameters that a backbone does without.
            stem: the first convolution, made for 3 channels; needed where ``in_channels`` differ.
            in_channels: channels of the images. Weights for RGB are adapted, see :func:`adapt_stem_weight`.
            gradient_checkpointing: keep each stage's input only, and run it again in backward: less memory, more time.
        """
        assert len(stage_paths) == len(channels) + 1, "a stem, and one channel count for each stage"
        names = [f"stage{i + 1}" for i in range(len(channels))]
        wanted = names if out_stages is None else list(out_stages)
        for name in wanted:
            if name not in names:
                raise SegkitError(
                    f"out_stages: there is no '{name}'{did_you_mean(name, names)}", key="out_stages", value=name
                )
        if not wanted:
            raise SegkitError("out_stages is empty; a backbone gives at least one stage", key="out_stages")
        last = max(names.index(name) for name in wanted) + 1
        self.in_channels = in_channels
        self.gradient_checkpointing = gradient_checkpointing
        self._stem = stem
        if in_channels != 3:
            replace_stem(self, stem, in_channels)
        removed = [path for paths in stage_paths[last + 1 :] for path in paths]
        for path in removed:  # so that no parameter stays without a gradient
            parent, _, child = path.rpartition(".")
            delattr(self.get_submodule(parent), child)
        self.stage_paths = [list(paths) for paths in stage_paths[: last + 1]]
        self.out_features = {
            name: FeatureSpec(channels[i], 2 ** (i + 2)) for i, name in enumerate(names) if name in wanted
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
        """As usual, but what is frozen stays in eval mode."""
        super().train(mode)
        if mode:
            eval_frozen(self)
        return self

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A classifier's weights as this backbone takes them: here, the stem's for the images' channels."""
        key = f"{self._stem}.weight"
        if self.in_channels == 3 or key not in state or state[key].shape[1] != 3:
            return state
        return {**state, key: adapt_stem_weight(state[key], self.in_channels)}

    def publish(self, name: str, x: Tensor) -> Tensor:
        """A hook for subclasses: what is done to a stage's output that goes out, not on to the next stage."""
        return x

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Feature maps of normalised images.

        Args:
            x: [B, in_channels, H, W].
        Returns:
            for each of ``out_features``: [B, channels, ~H / stride, ~W / stride], channels last in memory.
        """
        # Channels last: convolutions and norms are faster so on both kinds of device, and ConvNeXt's and RoIAlign's
        # permutations become free. A frozen leading part needs no no_grad(): autograd records nothing for it.
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
