"""A step whose losses were NaN, once more, from the file that its batch went to.

>>> from segkit.engine.replay import replay
>>> replay("output/cells/nonfinite_batch_0000123.pth")
"""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from segkit.config.loader import load_config_dict
from segkit.config.schema import Config
from segkit.engine.batch_file import targets_from_plain
from segkit.engine.parameters import freeze
from segkit.engine.step import batch_losses
from segkit.modeling.build import build_model
from segkit.modeling.layers.freezing import eval_frozen
from segkit.modeling.nonfinite import first_not_finite
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.modeling.weights.reading import read_file
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import STREAMS_VERSION

logger = logging.getLogger(__name__)


def replay(
    path: str | os.PathLike[str],
    weights: str | None = None,
    device: str | int | torch.device = "auto",
) -> list[dict[str, float]]:
    """Computes the losses of a step's batches again, in the run's precision, and says where they stop being finite.

    Args:
        path: a ``nonfinite_batch_NNNNNNN.pth`` of a run.
        weights: a checkpoint to take the weights from; needed where the file has none, as they were NaN already when the
            loss was looked at.
        device: as ``train.device``, or a torch device. The numbers are those of the run on the kind of device that it was on.
    Returns:
        for each batch of the step, its losses by name.
    Raises:
        SegkitError: no such file, another file, no weights, or a file from a URL that imports Python modules.
    """
    content = read_file(str(path), "batch")
    if "batches" not in content or "config" not in content:
        raise SegkitError(f"'{path}' is not a nonfinite_batch file of a run", value=str(path))
    if weights is None and content["model"] is None:
        raise SegkitError(f"'{path}' has no weights, for they were NaN already: give those of an earlier checkpoint")
    if content.get("streams", 1) != STREAMS_VERSION:
        logger.warning("%s was written by a segkit of other random streams: anchors and proposals are drawn anew", path)
    place = choose_device(device, key="device")
    check_precision(content["precision"], place, key="precision")
    cfg = load_config_dict(content["config"], str(path))  # its name, for one from a URL may import nothing
    model = _model(cfg, content, weights).to(place)
    found = []
    for part, plain in enumerate(content["batches"]):
        batch = SimpleNamespace(
            images=[image.to(place) for image in plain["images"]],
            targets=[targets.to(place) for targets in targets_from_plain(plain["targets"])],
        )
        found.append(_losses(model, batch, content, part, place))
        logger.info("batch %d (%s): %s", part + 1, ", ".join(plain["file_names"]), found[-1])
    return found


def _model(cfg: Config, content: dict[str, Any], weights: str | None) -> nn.Module:
    """The run's model in training mode."""
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


def _losses(model: nn.Module, batch: Any, content: dict[str, Any], part: int, device: torch.device) -> dict[str, float]:
    settings: dict[str, Any] = {"seed": content["seed"], "step": content["step"], "part": part}
    settings |= {"device": device, "precision": content["precision"], "rank": content.get("rank", 0)}
    culprit = first_not_finite(model, lambda: batch_losses(model, batch, **settings))
    if culprit is not None:
        logger.warning("%s", culprit)
    # With a graph, as in training: without one the proposal network rounds otherwise.
    return {name: loss.item() for name, loss in batch_losses(model, batch, **settings).items()}
