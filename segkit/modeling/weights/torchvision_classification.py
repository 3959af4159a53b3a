"""Loads pretrained backbone weights: torchvision's by name, or from a file."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from segkit.modeling.weights.backbone_file import read_backbone
from segkit.modeling.weights.reading import skipping_pretrained
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)

__all__ = ["load_classification_weights", "skipping_pretrained"]


def load_classification_weights(
    backbone: nn.Module,
    weights: str,
    model: str | None,
    *,
    skip: Sequence[str] = (),
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Loads a classifier's weights into a backbone with the same parameter names.

    Weights of Detectron2's ResNets are converted to RGB images with ImageNet's mean and deviation, as torchvision's are.

    Args:
        backbone: all its parameters must be among the weights.
        weights: ``IMAGENET1K_V1``, ``DEFAULT``, ``ResNet50_Weights.IMAGENET1K_V1``, or a path or URL.
        model: the torchvision model whose weights fit, such as ``resnet50``; None: there is none.
        skip: prefixes of parameters that the backbone does not have.
        convert: converts the weights to the backbone's names and shapes, before ``skip`` is applied.
    Raises:
        SegkitError: there are no such weights, they cannot be downloaded, or they are for another architecture.
    """
    name = type(backbone).__name__
    if skipping_pretrained() or any(p.is_meta for p in backbone.parameters()):
        logger.debug("%s: pretrained weights %s not loaded", name, weights)
        return
    state = read_backbone(backbone, weights) if is_path(weights) else named_weights(weights, model)
    state = state if convert is None else convert(state)
    skipped = [key for key in state if key.startswith(tuple(skip))]
    state = {key: value for key, value in state.items() if key not in set(skipped)}
    check_fit(backbone, state, weights)
    backbone.load_state_dict(state, strict=False)
    logger.info(
        "%s: %d tensors from %s; %d of the classifier's head or of unused stages skipped",
        name, len(state), weights, len(skipped),
    )  # fmt: skip


def is_path(weights: str) -> bool:
    """Whether ``weights`` is a path or URL and not a name: it has a slash or a file's suffix."""
    return "/" in weights or "\\" in weights or bool(re.search(r"\.(pth|pt|pkl|bin|ckpt)$", weights))


def named_weights(weights: str, model: str | None) -> dict[str, Tensor]:
    """torchvision's weights by name, from torch's cache or downloaded to it."""
    from torchvision.models import get_model_weights

    if model is None:
        raise SegkitError(
            f"weights '{weights}': torchvision has none for this arch; give the path of a file, or null",
            key="weights", value=weights,
        )  # fmt: skip
    enum = get_model_weights(model)
    member = weights.removeprefix(f"{enum.__name__}.")
    choices = [*enum.__members__]
    if member not in enum.__members__:
        of = f"the weights of {model} are {enum.__name__}" if "." in member else f"{model} has no weights of that name"
        raise SegkitError(
            f"weights '{weights}': {of}{did_you_mean(member.rpartition('.')[2], choices)}; or give the path of a file",
            key="weights", value=weights, choices=choices,
        )  # fmt: skip
    return download(enum[member])


def download(weights: object) -> dict[str, Tensor]:
    """The state dict of a member of a torchvision weights enum."""
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))  # type: ignore[attr-defined]
    except (OSError, RuntimeError) as error:  # URLError is an OSError; RuntimeError: the hash differs
        raise SegkitError(
            f"weights '{weights}' cannot be downloaded from {weights.url}: {error}; "  # type: ignore[attr-defined]
            "without a network, give the path of the file, or null to start from random values",
            key="weights", value=str(weights),
        ) from error  # fmt: skip


def check_fit(backbone: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Raises a SegkitError if names or shapes differ from the backbone's."""
    own = backbone.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own and not k.endswith("num_batches_tracked")]
    shapes = [
        f"{k} is {list(state[k].shape)}, here {list(own[k].shape)}"
        for k in own
        if k in state and own[k].shape != state[k].shape
    ]
    problems = []
    for what, items in (("missing", missing), ("not of this model", extra), ("of another shape", shapes)):
        if items:
            more = f" and {len(items) - 3} more" if len(items) > 3 else ""
            problems.append(f"{len(items)} {what} ({', '.join(items[:3])}{more})")
    if problems:
        raise SegkitError(
            f"weights '{source}' are for another architecture than this {type(backbone).__name__}: {'; '.join(problems)}",
            key="weights", value=source,
        )  # fmt: skip
