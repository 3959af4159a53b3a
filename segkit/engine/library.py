"""``segkit.train`` and ``segkit.evaluate``: training and evaluation as function calls."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from segkit.config.sources import ConfigSource, Overrides, as_config, as_texts
from segkit.data.formats.base import Dataset
from segkit.data.formats.build import build_dataset
from segkit.data.formats.catalog import register_dataset
from segkit.data.loader import build_test_loader
from segkit.data.transforms.base import Compose, Transform, build_transforms
from segkit.engine.amp import autocast
from segkit.engine.build import evaluators_from_specs
from segkit.engine.open_model import EvaluationSetup, check_dataset, open_checkpoint, open_model
from segkit.engine.recognized_data import recognized_spec
from segkit.engine.run import train as train_run
from segkit.evaluation.evaluator import Evaluator
from segkit.evaluation.evaluator import evaluate as evaluate_model
from segkit.evaluation.predictions import as_detections, evaluate_predictions
from segkit.inference.pipeline import build_pipeline
from segkit.utils import distributed
from segkit.utils.errors import SegkitError
from segkit.utils.renamed_arguments import removed_arguments

logger = logging.getLogger(__name__)


@removed_arguments(
    eval_only="segkit.evaluate(checkpoint, config=config) evaluates without training",
    resume_command="leave it out: train(..., resume=True) continues a run",
)
def train(
    config: ConfigSource,
    *,
    overrides: Overrides = (),
    train_data: Dataset | None = None,
    val_data: Dataset | None = None,
    resume: bool = False,
    restart: bool = False,
    weights: str | os.PathLike[str] | None = None,
) -> dict[str, float]:
    """Trains the model of a configuration, as the command ``segkit train`` does.

    Args:
        config: a configuration, the path of a YAML file (``segkit://NAME`` for one that comes with segkit), or its content
            as a dictionary.
        overrides: values by key, ``{"train.epochs": 3, "solver.optimizer.lr": 1e-4}``, or texts as on the command line,
            ``["train.epochs=3"]``.
        train_data: what to train on, in place of ``data.train``.
        val_data: what to evaluate on; None: the configuration's ``data.val``.
        resume: continue from the last checkpoint in ``output_dir``; without one, start a new run. ``train_data`` and
            ``val_data`` have to be passed again.
        restart: start again in a folder that holds a run; its files are moved aside.
        weights: a checkpoint to start from, segkit's, torchvision's or Detectron2's (``train.init_weights``).
    Returns:
        The metrics of the last evaluation, ``segm/AP`` and so on in 0..1; empty without validation data.
    Raises:
        SegkitError: a mistake in the configuration or the data; the message says which key, and what is valid.

    >>> segkit.train("segkit://quickstart.yaml", overrides={"train.epochs": 1, "output_dir": "output/mine"})
    """
    given = {"train": train_data, "val": val_data}
    sets = {key: _registered(f"{key}_data", dataset) for key, dataset in given.items() if dataset is not None}
    cfg = as_config(config, [*as_texts({f"data.{key}": spec for key, spec in sets.items()}), *as_texts(overrides)])
    try:
        return train_run(cfg, resume=resume, restart=restart, weights=None if weights is None else os.fspath(weights))
    except SegkitError as error:
        if "train" in sets and "val" not in sets and str(error).startswith("data.val"):
            hint = "train_data was given without val_data: give both, or overrides={'data.val': None}"
            raise SegkitError(f"{error}; {hint}", key=error.key, value=error.value) from error
        raise


def evaluate(
    model: str | os.PathLike[str] | nn.Module | Callable[[list[torch.Tensor]], Sequence[Any]],
    data: Dataset | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    config: ConfigSource | None = None,
    overrides: Overrides = (),
    evaluators: Sequence[Evaluator] | None = None,
    transforms: Transform | Sequence[Transform] | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    device: str | int | torch.device | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    losses: bool = False,
) -> dict[str, float]:
    """Returns the metrics of a checkpoint, a model, or a function from images to detections.

    - **A checkpoint** of segkit's training holds its configuration: ``evaluate("output/mine/model_best.pth")`` returns
      the metrics of ``segkit eval``. Weights of torchvision or Detectron2 need ``config``.
    - **A model**, any module with ``predict(images, output_sizes)``, needs ``data``.
    - **A function** needs ``data``. It gets a list of images (uint8 [3, H, W], RGB, untransformed) and returns for each of
      them :class:`~segkit.structures.Detections`, or the dictionary of torchvision's detection models in pixels of the image.

    :func:`segkit.evaluation.evaluate_predictions` takes finished predictions, such as a COCO results file.

    Args:
        model: one of the three.
        data: a data set, its path, or a spec as ``{"format": "coco", ...}``; None: the configuration's ``data.val``.
        config: replaces the configuration that a checkpoint holds; a model takes from it what ``data``, ``transforms``
            and ``evaluators`` do not say.
        overrides: of the configuration, as for :func:`train`.
        evaluators: None: the configuration's; without one, COCO's metrics of boxes, and of masks if the model has them,
            and those of ``PrecisionRecall``; of a function, COCO's.
        transforms: test transforms; None: the configuration's; without one, images are not transformed. An error if the
            configuration predicts in tiles, which are transformed by ``data.test_transforms``.
        batch_size: images, with ``predict.tile`` of tiles, that go through the model together.
        num_workers: processes that load images; 0: this one does.
        device: None: the configuration's ``train.device`` for a checkpoint; a model stays on its device.
        output_dir: folder for the evaluators' files, such as COCO results; None: no files.
        losses: also the validation losses, ``val/loss/total`` and so on.
    Returns:
        Metrics by name, ``segm/AP`` and so on in 0..1.
    Raises:
        SegkitError: no data, no configuration, other classes, weights that do not fit.

    >>> metrics = segkit.evaluate("output/mine/model_best.pth")
    >>> print(segkit.evaluation.metrics_table(metrics))
    """
    if isinstance(model, (str, os.PathLike)):
        opened = open_checkpoint(os.fspath(model), data, config, overrides, device)
    elif isinstance(model, nn.Module) and hasattr(model, "predict"):
        opened = open_model(model, data, config, overrides, device)
    else:
        settings = {"config": config, "transforms": transforms, "device": device, "output_dir": output_dir}
        return _evaluate_function(model, data, evaluators, batch_size, num_workers, settings)
    pipeline = None
    if opened.cfg is not None:
        pipeline = build_pipeline(opened.cfg, opened.model, object_sides=opened.object_sides, batch_size=batch_size)
        if pipeline.takes_opened_images and transforms is not None:
            raise SegkitError(
                "transforms: with predict.tile they are those of each tile, from the configuration; set "
                "overrides={'data.test_transforms': [...]} instead",
                key="transforms",
            )
    loader = build_test_loader(
        opened.data,
        None if pipeline is not None and pipeline.takes_opened_images else _transforms(opened, transforms),
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=opened.device.type == "cuda",
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    if evaluators is None:
        evaluators = _evaluators(opened, None if output_dir is None else os.fspath(output_dir))
    context = autocast(opened.precision, opened.device)
    return evaluate_model(opened.model, loader, evaluators, opened.device, context, losses=losses, pipeline=pipeline)


def _transforms(opened: EvaluationSetup, given: Transform | Sequence[Transform] | None) -> Transform:
    """Returns the given transforms, else the configuration's, else an empty Compose."""
    if given is None:
        specs = () if opened.cfg is None else opened.cfg.data.test_transforms
        return build_transforms(specs, path="data.test_transforms")
    return given if isinstance(given, Transform) else Compose(list(given))


def _evaluators(opened: EvaluationSetup, results_dir: str | None) -> list[Evaluator]:
    """Returns the configuration's evaluators; without a configuration, the default ones."""
    model, data = opened.model, opened.data
    masks = getattr(model, "predicts_masks", True)
    coco = {"name": "COCO", "iou_types": ["bbox", "segm"] if masks else ["bbox"]}
    specs: Sequence[Mapping[str, Any]] = [coco, {"name": "PrecisionRecall"}]
    if opened.cfg is not None:
        specs = opened.cfg.evaluators
    ids = list(data.category_ids)
    return evaluators_from_specs(specs, model, data.classes, ids, results_dir, data.frequencies)


def _registered(name: str, dataset: Dataset) -> dict[str, str]:
    """Registers a data set object; returns the spec by which a configuration finds it."""
    check_dataset(dataset, name)
    register_dataset(name, lambda: dataset)
    return {"format": "catalog", "name": name}


def _evaluate_function(
    function: Any,
    data: Any,
    evaluators: Sequence[Evaluator] | None,
    batch_size: int,
    num_workers: int,
    settings: Mapping[str, Any],
) -> dict[str, float]:
    """Returns the metrics of a function's detections; raises SegkitError if ``settings`` are set."""
    if not callable(function):
        raise SegkitError(
            f"model: expected a checkpoint, a module with predict(images, output_sizes) or a function, not a "
            f"{type(function).__name__}",
            key="model",
        )
    if data is None:
        raise SegkitError("evaluate(function, data) needs a data set", key="data")
    if unused := [name for name, value in settings.items() if value is not None]:
        raise SegkitError(
            f"{unused[0]} is for a checkpoint or a model; a function receives untransformed images and chooses its device",
            key=unused[0],
        )
    if (threshold := getattr(function, "score_threshold", None)) is not None:  # a Predictor
        logger.warning(
            "evaluate: this %s keeps scores of at least %s, so AP is lower than the model's; evaluate its checkpoint or "
            "its model instead",
            type(function).__name__,
            threshold,
        )
    if isinstance(data, (str, os.PathLike)):
        data = recognized_spec({"path": os.fspath(data)}, "val", "data")
    if isinstance(data, Mapping):
        data = build_dataset(data, path="data")
    check_dataset(data, "data")
    loader = build_test_loader(data, Compose([]), batch_size=batch_size, num_workers=num_workers)
    return evaluate_predictions(dict(_predictions(function, loader, data)), data, evaluators)


@torch.inference_mode()
def _predictions(function: Any, loader: Iterable[Any], data: Dataset) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    for batch in loader:
        results = function(batch.images)
        if not isinstance(results, Sequence) or len(results) != len(batch):
            count = len(results) if isinstance(results, Sequence) else f"a {type(results).__name__}"
            raise SegkitError(
                f"the function returns {count} for {len(batch)} images; expected one result an image", key="model"
            )
        for image_id, size, result in zip(batch.image_ids, batch.sizes, results, strict=True):
            found.append((image_id, as_detections(result, size, data.category_ids).to("cpu")))
    return found
