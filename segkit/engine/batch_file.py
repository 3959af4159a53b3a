"""The file that a batch with a loss of NaN goes to: all that is needed to compute that loss once more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils import distributed
from segkit.utils.atomic import atomic_write
from segkit.utils.seeding import STREAMS_VERSION

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


def save_batches(trainer: Trainer, step: int, batches: Sequence[Any], *, weights: bool = True) -> str:
    """Writes ``nonfinite_batch_NNNNNNN.pth`` to the run's folder, for :func:`segkit.engine.replay.replay`.

    It holds tensors and plain values only: ``batches`` (images, targets, file_names), ``step`` (from 0), ``seed``,
    ``streams``, ``rank``, ``precision``, ``model`` (the weights), config and classes.

    Args:
        step: the number of the step, from 0, that the batches are of.
        weights: whether the model's are still those of that step; else ``model`` is None.
    Returns:
        a clause for the message that names the file; empty where there is none, after a warning that says why.
    """
    if not batches:
        return ""
    process = f"_process{distributed.rank()}" if distributed.rank() else ""  # each has its own images
    path = trainer.output_dir / f"nonfinite_batch_{step + 1:07d}{process}.pth"
    try:
        content = {
            **trainer.about,
            "step": step,
            "seed": trainer.seed,
            "streams": STREAMS_VERSION,
            "rank": distributed.rank(),
            "precision": trainer.precision,
            "batches": [batch_to_plain(batch) for batch in batches],
            "model": dict(trainer.model.state_dict()) if weights else None,
        }
        with atomic_write(path) as temporary:
            torch.save(content, temporary)
    except (
        OSError,
        RuntimeError,
        TypeError,
    ) as error:  # a full disk, a batch of one's own: the first error matters more
        logger.warning("the batch could not be written to %s: %s", path, error)
        return ""
    return f"; the batch is in {path}: segkit.engine.replay repeats it"


def batch_to_plain(batch: Any) -> dict[str, Any]:
    """A batch's images and targets as tensors and plain values, on the CPU.

    Raises:
        TypeError: its images or targets are of a type of their own.
    """
    names = [str(name) for name in getattr(batch, "file_names", None) or ()]
    return {"images": _plain(batch.images), "targets": _plain(batch.targets), "file_names": names}


def targets_from_plain(value: Any) -> Any:
    """The targets of :func:`batch_to_plain`."""
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
        return {name: _plain(getattr(value, name)) for name in ("boxes", "labels", "crowd", "has_mask", "masks")}
    if value is None:
        return None
    raise TypeError(f"a {type(value).__name__} in it is neither a tensor nor segkit's")
