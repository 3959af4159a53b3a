"""Opens a checkpoint or a model together with the data set to evaluate it on."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
from segkit.data.formats.partial import PartiallyAnnotated
from segkit.data.measuring import with_measured_values
from segkit.data.reader import build_reader
from segkit.engine.datasets import build_data, checkpoint_labels, partial_annotation
from segkit.engine.recognized_data import recognized_spec, with_recognized_data
from segkit.modeling.build import build_model
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.modeling.weights.reading import checkpoint_content
from segkit.structures.object_sides import ObjectSides, saved_object_sides
from segkit.utils.device import choose_device, device_of
from segkit.utils.errors import SegkitError


@dataclass(frozen=True)
class EvaluationSetup:
    """A model, and the data set to evaluate it on.

    Attributes:
        model: on ``device``.
        cfg: the configuration; None if the model has none.
        data: the ground truth.
        device: where the model is.
        object_sides: of the training objects; None: not known.
    """

    model: nn.Module
    cfg: Config | None
    data: Dataset
    device: torch.device
    object_sides: ObjectSides | None = None

    @property
    def precision(self) -> str:
        """The configuration's precision; fp32 without one, and in place of fp16 on a CPU."""
        precision = "fp32" if self.cfg is None else self.cfg.train.precision
        return "fp32" if precision == "fp16" and self.device.type == "cpu" else precision


def open_checkpoint(
    path: str, data: Any, config: ConfigSource | None, overrides: Overrides, device: str | int | torch.device | None
) -> EvaluationSetup:
    """Builds the model of a checkpoint and opens the data set to evaluate it on."""
    if Path(path).suffix.lower() == ".json":
        raise SegkitError(
            f"{path} is no checkpoint; segkit.evaluation.evaluate_predictions takes a COCO results file", value=path
        )
    content = checkpoint_content(path)
    if config is not None:
        cfg = with_measured_values(as_config(config, overrides), content.get("config"), required=True)
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
    return EvaluationSetup(model.to(run_device), cfg, dataset, run_device, saved_object_sides(content))


def open_model(
    model: nn.Module,
    data: Any,
    config: ConfigSource | None,
    overrides: Overrides,
    device: str | int | torch.device | None,
) -> EvaluationSetup:
    """Moves a model to ``device`` and opens the data set to evaluate it on."""
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
    return EvaluationSetup(model.to(run_device), cfg, dataset, run_device)


def _dataset(data: Any, cfg: Config | None, classes: list[str] | None, category_ids: list[int] | None) -> Dataset:
    """Returns ``data``, or the configuration's ``data.val``; raises SegkitError if it has other classes."""
    if data is None and cfg is not None:
        found = build_data(with_recognized_data(cfg), eval_only=True, classes=classes, category_ids=category_ids).val
        assert found is not None
        return found
    if data is None:
        raise SegkitError("evaluate(model, data) needs a data set, or config=... with data.val", key="data")
    if isinstance(data, (str, os.PathLike)):
        data = recognized_spec({"path": os.fspath(data)}, "val", "data")
    reader = None if cfg is None else build_reader(cfg.data, cache=True)
    partial = None if cfg is None else partial_annotation(cfg)
    if isinstance(data, Mapping):
        return build_dataset(data, classes, category_ids, reader=reader, partial=partial, path="data")
    check_dataset(data, "data")
    if reader is not None:  # images are read as in the training
        data.reader = reader
    if partial:  # the same categories are regions as in the training
        data = PartiallyAnnotated(data, partial, optional=True)
    if classes is not None and list(data.classes) != list(classes):
        raise SegkitError(f"data: {class_difference(data.classes, classes)}", key="data", value=data.classes)
    return data


def check_dataset(dataset: Any, key: str) -> None:
    """Raises SegkitError unless ``dataset`` is a :class:`segkit.data.Dataset`."""
    if not isinstance(dataset, Dataset):
        hint = "; segkit.data.from_torchvision(dataset, classes) makes one of (image, target) pairs"
        has_items = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        raise SegkitError(
            f"{key}: expected a segkit.data.Dataset, not a {type(dataset).__name__}{hint if has_items else ''}", key=key
        )
