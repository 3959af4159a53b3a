"""``segkit.train`` and ``segkit.evaluate``: training and evaluation as calls of a program or notebook."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.config.loader import load_config_dict
from segkit.config.schema import Config
from segkit.config.sources import ConfigSource, Overrides, as_config, as_texts
from segkit.data.formats.base import Dataset
from segkit.data.formats.build import build_dataset, class_difference
from segkit.data.formats.catalog import register_dataset
from segkit.data.loader import build_test_loader
from segkit.data.transforms.base import Compose, Transform, build_transforms
from segkit.engine.precision import autocast
from segkit.engine.run_data import build_data, checkpoint_labels
from segkit.engine.setup import train as train_run
from segkit.evaluation.evaluator import Evaluator
from segkit.evaluation.evaluator import evaluate as evaluate_model
from segkit.evaluation.predictions import as_detections, evaluate_predictions
from segkit.modeling.build import build_model
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.modeling.weights.reading import checkpoint_content
from segkit.registry import EVALUATOR_REGISTRY
from segkit.utils import distributed
from segkit.utils.device import choose_device, device_of
from segkit.utils.errors import SegkitError


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
    """Trains what a configuration describes; the command ``segkit train`` as a call.

    Args:
        config: a configuration, the path of a YAML file (``segkit://NAME`` for one that comes with segkit), or its content
            as a dictionary.
        overrides: values by key, ``{"train.epochs": 3, "solver.optimizer.lr": 1e-4}``, or texts as on the command line,
            ``["train.epochs=3"]``.
        train_data: what to train on, in place of ``data.train``.
        val_data: what to evaluate on, in place of ``data.val``.
        resume: go on from the last checkpoint in ``output_dir``; start where there is none. Data sets that are given as
            objects have to be given again.
        restart: start again in a folder that holds a run; its files are moved aside.
        weights: a checkpoint to start from, segkit's, torchvision's or Detectron2's (``train.init_weights``).
    Returns:
        The metrics of the last evaluation, ``segm/AP`` and so on in 0..1; empty where there is nothing to evaluate on.
    Raises:
        SegkitError: a mistake in the configuration or the data; the message says which key, and what is valid.

    >>> segkit.train("segkit://quickstart.yaml", overrides={"train.epochs": 1, "output_dir": "output/mine"})
    """
    given = {"train": train_data, "val": val_data}
    sets = {key: _registered(f"{key}_data", dataset) for key, dataset in given.items() if dataset is not None}
    cfg = as_config(config, [*as_texts({f"data.{key}": spec for key, spec in sets.items()}), *as_texts(overrides)])
    return train_run(cfg, resume=resume, restart=restart, weights=None if weights is None else os.fspath(weights))


def evaluate(
    model: str | os.PathLike[str] | nn.Module | Callable[[list[torch.Tensor]], Sequence[Any]],
    data: Dataset | Mapping[str, Any] | None = None,
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
    """The metrics of a checkpoint, a model or a function from images to detections.

    - **A checkpoint** of segkit's training holds its configuration: ``evaluate("output/mine/model_best.pth")`` returns
      the metrics of ``segkit eval``. Weights of torchvision or Detectron2 need ``config``.
    - **A model**, any module with ``predict(images, output_sizes)``, needs ``data``.
    - **A function** needs ``data``. It gets a list of images (uint8 [3, H, W], RGB, untransformed) and returns for each of
      them :class:`Detections`, or the dictionary of torchvision's detection models in pixels of the image.

    :func:`segkit.evaluation.evaluate_predictions` takes predictions that are made already, as a COCO results file.

    Args:
        model: one of the three.
        data: a data set, or a spec as ``{"format": "coco", ...}``; None: the configuration's ``data.val``.
        config: for a checkpoint, in place of the configuration that it holds; for a model, whose ``data.val``,
            ``data.test_transforms`` and ``evaluators`` hold where ``data``, ``transforms`` and ``evaluators`` are None.
        overrides: of the configuration, as for :func:`train`.
        evaluators: None: the configuration's; without one COCO's metrics of boxes, and of masks where there are some.
        transforms: test transforms; None: the configuration's; without one, images are evaluated as they are.
        batch_size: images that go through the model together.
        num_workers: processes that load images; 0: this one does.
        device: where the model runs; None: the configuration's ``train.device`` for a checkpoint, else where it is.
        output_dir: the folder of the evaluators' files, as COCO results; None: none are written.
        losses: also the validation losses, ``val/loss/total`` and so on.
    Returns:
        Metrics by name, ``segm/AP`` and so on in 0..1.
    Raises:
        SegkitError: no data, no configuration, other classes, weights that do not fit.

    >>> metrics = segkit.evaluate("output/mine/model_best.pth")
    >>> print(segkit.evaluation.metrics_table(metrics))
    """
    if isinstance(model, (str, os.PathLike)):
        opened = _open_checkpoint(os.fspath(model), data, config, overrides, device)
    elif isinstance(model, nn.Module) and hasattr(model, "predict"):
        opened = _open_model(model, data, config, overrides, device)
    else:
        return _evaluate_function(model, data, evaluators, batch_size, num_workers)
    if transforms is None:
        transforms = build_transforms(
            opened.cfg.data.test_transforms if opened.cfg else (), path="data.test_transforms"
        )
    elif not isinstance(transforms, Transform):
        transforms = Compose(list(transforms))
    loader = build_test_loader(
        opened.data,
        transforms,
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=opened.device.type == "cuda",
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    if evaluators is None:
        evaluators = _evaluators(opened, None if output_dir is None else os.fspath(output_dir))
    context = autocast(opened.precision, opened.device)
    return evaluate_model(opened.model, loader, evaluators, opened.device, context, losses=losses)


@dataclass(frozen=True)
class Opened:
    """A model with what it is evaluated on.

    Attributes:
        model: on ``device``.
        cfg: None: there is none.
        data: the ground truth.
        device: where the model is.
    """

    model: nn.Module
    cfg: Config | None
    data: Dataset
    device: torch.device

    @property
    def precision(self) -> str:
        """The configuration's; fp32 where there is none, and in place of fp16 on a CPU."""
        precision = "fp32" if self.cfg is None else self.cfg.train.precision
        return "fp32" if precision == "fp16" and self.device.type == "cpu" else precision


def _open_checkpoint(
    path: str, data: Any, config: ConfigSource | None, overrides: Overrides, device: str | int | torch.device | None
) -> Opened:
    """The model of a checkpoint."""
    if Path(path).suffix.lower() == ".json":
        raise SegkitError(
            f"{path} is no checkpoint; segkit.evaluation.evaluate_predictions takes a COCO results file", value=path
        )
    content = checkpoint_content(path)
    if config is not None:
        cfg = as_config(config, overrides)
    elif "config" in content:
        cfg = load_config_dict(content["config"], path, as_texts(overrides))
    else:
        raise SegkitError(
            f"{path} holds no configuration, so it is no checkpoint of segkit's training; give config=FILE, as "
            "segkit://coco/torchvision_mask_rcnn_r50_fpn.yaml for torchvision's weights",
            key="config",
        )
    run_device = choose_device(cfg.train.device if device is None else device, key="device")
    dataset = _dataset(data, cfg, *checkpoint_labels(content))
    with skip_pretrained():  # the checkpoint has all weights
        model = build_model(cfg, len(dataset.classes))
    model.classes = list(dataset.classes)  # type: ignore[assignment]
    load_checkpoint(model, path, content=content)
    return Opened(model.to(run_device), cfg, dataset, run_device)


def _open_model(
    model: nn.Module,
    data: Any,
    config: ConfigSource | None,
    overrides: Overrides,
    device: str | int | torch.device | None,
) -> Opened:
    """A model as it is, on ``device``."""
    if config is None and overrides:
        raise SegkitError("overrides change a configuration, and none is given", key="overrides")
    cfg = None if config is None else as_config(config, overrides)
    names: Any = getattr(model, "classes", None)
    dataset = _dataset(data, cfg, names, None)
    count = getattr(model, "num_classes", None)
    if count is not None and count != len(dataset.classes) and not getattr(model, "class_agnostic", False):
        raise SegkitError(
            f"data: it has {len(dataset.classes)} classes ({', '.join(dataset.classes[:12])}), the model has {count}",
            key="data",
        )
    run_device = device_of(model) if device is None else choose_device(device, key="device")
    return Opened(model.to(run_device), cfg, dataset, run_device)


def _dataset(data: Any, cfg: Config | None, classes: list[str] | None, category_ids: list[int] | None) -> Dataset:
    """What to evaluate on: ``data``, or the configuration's ``data.val``; SegkitError unless it has these classes."""
    if data is None and cfg is not None:
        found = build_data(cfg, eval_only=True, classes=classes, category_ids=category_ids).val
        assert found is not None
        return found
    if data is None:
        raise SegkitError("evaluate(model, data) needs a data set, or config=... with data.val", key="data")
    if isinstance(data, Mapping):
        return build_dataset(data, classes, category_ids, path="data")
    _check_dataset(data, "data")
    if classes is not None and list(data.classes) != list(classes):
        raise SegkitError(f"data: {class_difference(data.classes, classes)}", key="data", value=data.classes)
    return data


def _evaluators(opened: Opened, results_dir: str | None) -> list[Evaluator]:
    """The configuration's evaluators; without one COCO's."""
    model, data = opened.model, opened.data
    masks = getattr(model, "predicts_masks", True)
    runtime = {
        "classes": data.classes,
        "category_ids": list(data.category_ids),
        "max_detections": getattr(model, "detections_per_image", 100),
        "results_dir": results_dir,
        "class_agnostic": getattr(model, "class_agnostic", False),
        "predicts_masks": masks,
    }
    specs: Sequence[Mapping[str, Any]] = [{"name": "COCO", "iou_types": ["bbox", "segm"] if masks else ["bbox"]}]
    if opened.cfg is not None:
        specs = opened.cfg.evaluators
    return [EVALUATOR_REGISTRY.build(spec, path=f"evaluators[{i}]", **runtime) for i, spec in enumerate(specs)]


def _registered(name: str, dataset: Dataset) -> dict[str, str]:
    """The spec that finds a data set given as an object."""
    _check_dataset(dataset, name)
    register_dataset(name, lambda: dataset)
    return {"format": "catalog", "name": name}


def _check_dataset(dataset: Any, key: str) -> None:
    if not isinstance(dataset, Dataset):
        hint = "; segkit.data.from_torchvision(dataset, classes) makes one of (image, target) pairs"
        has_items = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        raise SegkitError(
            f"{key}: expected a segkit.data.Dataset, not a {type(dataset).__name__}{hint if has_items else ''}", key=key
        )


def _evaluate_function(
    function: Any, data: Any, evaluators: Sequence[Evaluator] | None, batch_size: int, num_workers: int
) -> dict[str, float]:
    if not callable(function):
        raise SegkitError(
            f"model: expected a checkpoint, a module with predict(images, output_sizes) or a function, not a "
            f"{type(function).__name__}",
            key="model",
        )
    if data is None:
        raise SegkitError("evaluate(function, data) needs a data set", key="data")
    if isinstance(data, Mapping):
        data = build_dataset(data, path="data")
    _check_dataset(data, "data")
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
