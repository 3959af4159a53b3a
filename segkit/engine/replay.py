"""Saves the batches of a step with a NaN loss, and repeats the step from the file.

>>> from segkit.engine.replay import replay
>>> replay("output/cells/nonfinite_batch_0000123.pth")
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from segkit.config.loader import load_config_dict
from segkit.config.schema import Config
from segkit.engine.parameters import freeze
from segkit.engine.train_step import batch_losses
from segkit.modeling.build import build_model
from segkit.modeling.layers.freezing import eval_frozen
from segkit.modeling.nonfinite import first_not_finite
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.modeling.weights.reading import read_file
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils import distributed
from segkit.utils.atomic import atomic_write
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import STREAMS_VERSION

logger = logging.getLogger(__name__)


def save_batches(
    output_dir: Path, batches: Sequence[Any], *, step: int, model: nn.Module | None, about: Mapping[str, Any]
) -> str:
    """Writes ``nonfinite_batch_NNNNNNN.pth`` to the run's folder, for :func:`replay`.

    It holds tensors and plain values only: ``batches`` (images, targets, file_names), ``step`` (from 0), ``streams``,
    ``rank``, ``model`` (the weights), and ``about``.

    Args:
        batches: those of the step; none: nothing is written.
        step: number of the step, from 0.
        model: with the weights of that step; None: they are lost.
        about: ``seed``, ``precision``, ``config`` and ``classes`` of the run.
    Returns:
        a clause for a message that names the file; empty, after a warning with the reason, if it was not written.
    """
    if not batches:
        return ""
    process = f"_process{distributed.rank()}" if distributed.rank() else ""  # each has its own images
    path = output_dir / f"nonfinite_batch_{step + 1:07d}{process}.pth"
    try:
        content = {
            **about,
            "step": step,
            "streams": STREAMS_VERSION,
            "rank": distributed.rank(),
            "batches": [batch_to_plain(batch) for batch in batches],
            "model": dict(model.state_dict()) if model is not None else None,
        }
        with atomic_write(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError, TypeError) as error:  # a full disk, a user's own batch: the NaN matters more
        logger.warning("the batch could not be written to %s: %s", path, error)
        return ""
    return f"; the batch is in {path}: segkit.engine.replay repeats it"


def batch_to_plain(batch: Any) -> dict[str, Any]:
    """Returns a batch's images and targets as tensors and plain values, on the CPU.

    Raises:
        TypeError: its images or targets have a type that segkit does not know.
    """
    names = [str(name) for name in getattr(batch, "file_names", None) or ()]
    return {"images": _plain(batch.images), "targets": _plain(batch.targets), "file_names": names}


def targets_from_plain(value: Any) -> Any:
    """Returns the targets of :func:`batch_to_plain`."""
    if isinstance(value, list):
        return [targets_from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    masks = value["masks"]
    if masks is not None:
        masks = InstanceMasks(masks["bits"], masks["crop_boxes"], tuple(masks["image_size"]))
    return Targets(**{**value, "masks": masks})


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, InstanceMasks):
        return {"bits": value.bits.cpu(), "crop_boxes": value.crop_boxes, "image_size": list(value.image_size)}
    if isinstance(value, Targets):
        names = ("boxes", "labels", "crowd", "has_mask", "unlabelled", "masks")
        return {name: _plain(getattr(value, name)) for name in names}
    if value is None:
        return None
    raise TypeError(f"a {type(value).__name__} in it is neither a tensor nor segkit's")


def replay(
    path: str | os.PathLike[str],
    weights: str | None = None,
    device: str | int | torch.device = "auto",
) -> list[dict[str, float]]:
    """Repeats a step from its saved batches, and logs where values stop being finite.

    Args:
        path: a ``nonfinite_batch_NNNNNNN.pth`` of a run.
        weights: a checkpoint with the weights; needed if the file has none because they were NaN already.
        device: as ``train.device``, or a torch device. The losses equal the run's on the same kind of device.
    Returns:
        for each batch of the step, its losses by name.
    Raises:
        SegkitError: no such file, another kind of file, no weights, or a file from a URL that imports Python modules.
    """
    content = read_file(str(path), "batch")
    if "batches" not in content or "config" not in content:
        raise SegkitError(f"'{path}' is not a nonfinite_batch file of a run", value=str(path))
    if weights is None and content["model"] is None:
        raise SegkitError(
            f"'{path}' has no weights, because they were NaN already: pass those of an earlier checkpoint"
        )
    if content.get("streams", 1) != STREAMS_VERSION:
        logger.warning(
            "%s was written by a segkit with other random streams: other anchors and proposals are sampled", path
        )
    chosen = choose_device(device, key="device")
    check_precision(content["precision"], chosen, key="precision")
    cfg = load_config_dict(content["config"], str(path))  # the path decides about imports: a URL may not import modules
    model = _model(cfg, content, weights).to(chosen)
    found = []
    for part, plain in enumerate(content["batches"]):
        batch = SimpleNamespace(
            images=[image.to(chosen) for image in plain["images"]],
            targets=[targets.to(chosen) for targets in targets_from_plain(plain["targets"])],
        )
        found.append(_losses(model, batch, content, part, chosen))
        logger.info("batch %d (%s): %s", part + 1, ", ".join(plain["file_names"]), found[-1])
    return found


def _model(cfg: Config, content: dict[str, Any], weights: str | None) -> nn.Module:
    """Returns the run's model in training mode."""
    with skip_pretrained():
        model = build_model(cfg, len(content["classes"]))
    model.classes = list(content["classes"])  # type: ignore[assignment]
    freeze(model, cfg.solver.parameters)
    if weights is not None:
        load_checkpoint(model, weights)
    else:
        model.load_state_dict(content["model"])
    model.train()
    eval_frozen(model)
    return model


def _losses(model: Any, batch: Any, content: dict[str, Any], part: int, device: torch.device) -> dict[str, float]:
    settings: dict[str, Any] = {"seed": content["seed"], "step": content["step"], "part": part}
    settings |= {"device": device, "precision": content["precision"], "rank": content.get("rank", 0)}
    culprit = first_not_finite(model, lambda: batch_losses(model.losses, batch, **settings))
    if culprit is not None:
        logger.warning("%s", culprit)
    # With gradients, as in training: without them the proposal network rounds differently.
    return {name: loss.item() for name, loss in batch_losses(model.losses, batch, **settings).items()}
