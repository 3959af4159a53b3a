"""Base class of detectors: feature pyramid, losses, predictions, checks of inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segkit.modeling.interfaces import ProposalGenerator
from segkit.modeling.layers.feature_spec import check_maps, check_out_features
from segkit.modeling.layers.preprocessing import check_images, normalize
from segkit.modeling.layers.randomness import check_generator, randomness_of
from segkit.modeling.layers.target_checks import check_targets
from segkit.modeling.nonfinite import run_or_name_culprit
from segkit.registry import BACKBONE_REGISTRY, NECK_REGISTRY, Slot
from segkit.structures.detections import Detections
from segkit.structures.image_batch import ImageBatch
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

# The out_features of one component are the in_features of the next.
FEATURES_OF_BACKBONE = Slot(BACKBONE_REGISTRY, provides={"in_features": "out_features"}, check=check_out_features)
FEATURES_OF_NECK = Slot(NECK_REGISTRY, provides={"in_features": "out_features"}, check=check_out_features)


class Detector(nn.Module, ABC):
    """A model from images to losses or detections.

    Images are RGB, uint8 or float in 0..1, of any sizes. The model normalises and pads them; it does not resize them,
    which the transforms do.

    Args:
        num_classes: K; labels are 0 .. K - 1.
        backbone: image to feature maps.
        neck: feature maps to a pyramid; None: the backbone's maps are used.
        proposal_generator: proposes boxes that may contain objects.
        pixel_mean: mean of each channel, for values in 0..1.
        pixel_std: standard deviation of each channel, likewise.
        size_divisor: height and width of a batch are padded to multiples of it.

    Attributes:
        class_agnostic: whether all detections have label 0, which stands for all classes.
    """

    class_agnostic = False
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        neck: nn.Module | None,
        proposal_generator: ProposalGenerator,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisor: int,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise SegkitError(f"num_classes must be at least 1, not {num_classes}")
        if len(pixel_mean) != len(pixel_std) or min(pixel_std, default=0) <= 0:
            raise SegkitError("pixel_mean and pixel_std need one value for each channel, and pixel_std values above 0")
        in_channels = getattr(backbone, "in_channels", len(pixel_mean))
        if in_channels != len(pixel_mean):
            raise SegkitError(
                f"the backbone takes images of {in_channels} channels (in_channels), but pixel_mean and pixel_std have "
                f"{len(pixel_mean)} values; give one for each channel",
                key="pixel_mean",
            )
        if size_divisor < 1:
            raise SegkitError(f"size_divisor must be at least 1, not {size_divisor}")
        self.num_classes = num_classes
        self.backbone = backbone
        self.neck = neck
        self.proposal_generator = proposal_generator
        self.size_divisor = size_divisor
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """The model's device, to which images and targets are moved."""
        return self.pixel_mean.device

    @property
    @abstractmethod
    def detections_per_image(self) -> int:
        """Number of detections of an image at most, in prediction and evaluation."""

    @property
    @abstractmethod
    def predicts_masks(self) -> bool:
        """Whether the detections have masks."""

    def losses(
        self,
        images: Sequence[Tensor] | ImageBatch,
        targets: Sequence[Targets],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The training losses, in any mode: scalars by name, whose sum is minimised.

        The mode changes only the layers that depend on it. In evaluation mode (see
        :func:`segkit.modeling.modes.evaluation_mode`) these are the validation losses, and no buffer changes. In training
        mode batch norms use the batch's statistics and update their running ones, and dropout and stochastic depth drop.

        Args:
            images: [C, H_i, W_i] each, RGB, uint8 or float in 0..1.
            targets: of each image, in its pixels. Objects whose box has no area are dropped, with a warning.
            generator: on the model's device, the source of all randomness: of the sampled anchors and proposals, dropout
                and stochastic depth. The global random state is neither used nor changed. None: all of these draw from
                torch's global random state of that device, so that calls differ and ``torch.manual_seed`` makes a
                training loop repeatable. To compare validation losses with each other, pass a generator with a fixed
                seed (:func:`segkit.utils.seeding.evaluation_generator`).
        """
        batch = self.preprocess(images)
        kept = check_targets(targets, batch.sizes, self.num_classes)
        check_generator(generator, self.device)
        with randomness_of(generator, self.device):
            features = self.features(batch.tensor)
            output = self.proposal_generator(features)
            return self._losses(features, output, batch.sizes, kept, generator)

    @torch.no_grad()
    def predict(
        self, images: Sequence[Tensor] | ImageBatch, output_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Detections]:
        """Detections of each image, best first.

        Args:
            images: as in :meth:`losses`.
            output_sizes: (height, width) that each image's detections refer to; None: the image's own.
        Raises:
            SegkitError: the network returns NaN or infinity; the message names the layer.
        """
        batch = self.preprocess(images)
        sizes = self._output_sizes(output_sizes, batch)

        def run() -> list[Detections]:
            features = self.features(batch.tensor)
            return self._detections(features, self.proposal_generator(features), batch.sizes)

        return [d.resized(size) for d, size in zip(run_or_name_culprit(self, run), sizes, strict=True)]

    @torch.no_grad()
    def predict_boxes(self, images: Sequence[Tensor] | ImageBatch) -> tuple[dict[str, Tensor], list[Detections]]:
        """Detections without masks, and the features for :meth:`predict_mask_probs`.

        The features are the pyramid of the batch; images and errors are those of :meth:`predict`.
        """
        batch = self.preprocess(images)

        def run() -> tuple[dict[str, Tensor], list[Detections]]:
            features = self.features(batch.tensor)
            return features, self._boxes(features, self.proposal_generator(features), batch.sizes)

        return run_or_name_culprit(self, run)

    @torch.no_grad()
    def predict_mask_probs(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> list[Tensor]:
        """Probabilities of masks [N_i, M, M] in given boxes of each image.

        Args:
            features: of :meth:`predict_boxes`.
            boxes, labels: float [N_i, 4], in the pixels of the network's input, and int64 [N_i] of each image.
        Raises:
            SegkitError: the model predicts no masks.
        """
        raise SegkitError(f"{type(self).__name__} predicts no masks")

    @torch.no_grad()
    def predict_with_losses(
        self,
        images: Sequence[Tensor] | ImageBatch,
        targets: Sequence[Targets],
        generator: torch.Generator | None = None,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[list[Detections], dict[str, Tensor]]:
        """:meth:`predict` and :meth:`losses` with one pass through backbone, neck and RPN head.

        Each result is that of its own method in the model's current mode; the losses have no gradients.

        Args:
            images, targets, generator: as in :meth:`losses`.
            output_sizes: as in :meth:`predict`.
        """
        batch = self.preprocess(images)
        own_sizes = self._output_sizes(output_sizes, batch)
        kept = check_targets(targets, batch.sizes, self.num_classes)
        check_generator(generator, self.device)

        def run() -> tuple[list[Detections], dict[str, Tensor]]:
            with randomness_of(generator, self.device):
                features = self.features(batch.tensor)
                output = self.proposal_generator(features)
                losses = self._losses(features, output, batch.sizes, kept, generator)
                return self._detections(features, output, batch.sizes), losses

        detections, losses = run_or_name_culprit(self, run)
        return [d.resized(size) for d, size in zip(detections, own_sizes, strict=True)], losses

    def _losses(
        self,
        features: Mapping[str, Tensor],
        output: Any,
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Targets],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        targets = [t.to(self.device) for t in targets]
        losses = self.proposal_generator.losses(output, targets, generator)
        losses.update(self._second_stage_losses(features, output, sizes, targets, generator))
        return losses

    @abstractmethod
    def _second_stage_losses(
        self,
        features: Mapping[str, Tensor],
        output: Any,
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Targets],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Losses other than the proposal generator's.

        Args:
            features: the pyramid.
            output: of the proposal generator.
            sizes: (height, width) of each image.
            targets: checked, on the model's device.
            generator: source of randomness; None: torch's global random state.
        """

    @abstractmethod
    def _detections(
        self, features: Mapping[str, Tensor], output: Any, sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detections of each image in the pixels of the network's input; arguments as above."""

    def _boxes(self, features: Mapping[str, Tensor], output: Any, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """As :meth:`_detections`, without masks."""
        found = self._detections(features, output, sizes)
        return [Detections(one.boxes, one.scores, one.labels, None, one.size) for one in found]

    def forward(
        self,
        images: Sequence[Tensor] | ImageBatch,
        targets: Sequence[Targets] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """:meth:`losses` in training mode, :meth:`predict` in evaluation mode."""
        if self.training:
            if targets is None:
                raise SegkitError("a model in training mode needs targets; call model.eval() or model.predict(images)")
            return self.losses(images, targets, generator)
        return self.predict(images)

    def features(self, tensor: Tensor) -> dict[str, Tensor]:
        """The pyramid of a normalised batch [B, C, H, W]."""
        size = (tensor.shape[-2], tensor.shape[-1])
        features = self.backbone(tensor)
        check_maps(self.backbone, features, size)
        if self.neck is not None:
            features = self.neck(features)
            check_maps(self.neck, features, size)
        return features

    def compile_trunk(self) -> None:
        """Compiles backbone and neck in place with ``torch.compile``; parameters keep their names.

        The heads are not compiled, since their numbers of boxes change with every batch.
        """
        for part in (self.backbone, self.neck):
            if part is not None:
                part.compile()

    def preprocess(self, images: Sequence[Tensor] | ImageBatch) -> ImageBatch:
        """Moves images to the model's device, normalises them and pads them to one size."""
        if isinstance(images, ImageBatch):
            images = [image[:, :h, :w] for image, (h, w) in zip(images.tensor, images.sizes, strict=True)]
        check_images(images, channels=len(self.pixel_mean))
        normalized = [
            normalize(image.to(self.device, non_blocking=True), self.pixel_mean, self.pixel_std) for image in images
        ]
        batch = ImageBatch.from_images(normalized, divisor=self.size_divisor)
        return ImageBatch(batch.tensor.contiguous(memory_format=torch.channels_last), batch.sizes)

    def _output_sizes(
        self, output_sizes: Sequence[tuple[int, int]] | None, batch: ImageBatch
    ) -> Sequence[tuple[int, int]]:
        """``output_sizes``, or the images' own; raises a SegkitError if their number is wrong."""
        if output_sizes is not None and len(output_sizes) != len(batch.sizes):
            raise SegkitError(f"{len(output_sizes)} output sizes for {len(batch.sizes)} images")
        return batch.sizes if output_sizes is None else output_sizes
