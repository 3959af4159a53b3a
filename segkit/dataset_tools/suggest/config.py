"""``segkit.suggest_config``: a configuration for the data, the machine and the time."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from segkit.config.overrides import parse_overrides
from segkit.config.schema import Config, SplitConfig
from segkit.config.sources import Overrides, as_texts
from segkit.config.spec import to_plain
from segkit.data import split_dataset
from segkit.dataset_tools.stats.measure import MOST_IMAGES
from segkit.dataset_tools.suggest.draft import Draft, choose_all
from segkit.dataset_tools.suggest.facts import Facts, gather
from segkit.dataset_tools.suggest.memory import free_memory
from segkit.dataset_tools.suggest.model import SIZES
from segkit.dataset_tools.suggest.pretrained import recognize_weights
from segkit.dataset_tools.suggest.result import LENGTH_KEYS, Suggestion, build_config, finish, write_suggestion
from segkit.dataset_tools.suggest.schedule import (
    RunTimes,
    schedule_within,
    schedule_without_time,
    seconds_for_steps,
)
from segkit.dataset_tools.suggest.source import DataSource, Source, open_source
from segkit.dataset_tools.suggest.timing import OutOfMemory, measure_run
from segkit.utils.device import choose_device
from segkit.utils.errors import SegkitError

Timer = Callable[[Config, float], RunTimes]
MEASURED_SHARE = 0.03  # of the time, for each measurement
# A larger model is tried if the smaller one has time for more than twice as many.
ENOUGH_PASSES, ENOUGH_STEPS = 60, 4000
LEAST_DETECTIONS, DETECTIONS_PER_OBJECT = 20, 2  # of a trained model
MOST_EVALUATION = 0.2  # of the time; beyond, a part of the training images for validation is smaller


def suggest_config(
    data: DataSource,
    minutes: float | None = None,
    device: str | None = None,
    memory: float | None = None,
    *,
    format: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    output: str | os.PathLike[str] | None = None,
) -> Config:
    """Returns a configuration that suits the data, with a comment for each choice.

    It is plain: ``segkit train`` with the file that ``output`` names does the same run as ``segkit.train`` with the result.

    Args:
        data: a folder or file of any format, a spec as ``{"format": "coco", ...}``, or a data set.
        minutes: for the whole run, evaluation included. The speed of this machine is measured with a few steps. None: the
            length follows from the number of images, and nothing is measured.
        device: as ``train.device``; None: a GPU if there is one.
        memory: gigabytes that training may take; None: what is free.
        format: of a folder or file; None: recognised by content.
        weights: to start from: a checkpoint of segkit, or of a ResNet or ConvNeXt classifier.
        overrides: of the suggested values, as for :func:`segkit.train`; the other choices take them into account.
        output: a YAML file to write, with a comment for each choice.
    Raises:
        SegkitError: the data cannot be read, or have no objects; the time is too short.

    >>> config = segkit.suggest_config("my_data", minutes=40, output="suggested.yaml")
    >>> segkit.train(config)
    """
    suggestion = suggest(
        data, minutes, device, memory, format=format, weights=None if weights is None else os.fspath(weights),
        overrides=as_texts(overrides),
    )  # fmt: skip
    if output is not None:
        write_suggestion(suggestion, Path(output))
    return suggestion.config


def suggest(
    data: DataSource,
    minutes: float | None = None,
    device: str | None = None,
    memory: float | None = None,
    *,
    format: str | None = None,
    weights: str | None = None,
    overrides: list[str] | None = None,
    output_dir: str | None = None,
    began: float | None = None,
    max_images: int = MOST_IMAGES,
    timer: Timer = measure_run,
) -> Suggestion:
    """Suggests a configuration, with all that it follows from.

    Args:
        data, minutes, device, memory, format, weights: as for :func:`suggest_config`.
        overrides: texts ``KEY=VALUE``.
        output_dir: folder of the run; None: ``output/fit/NAME``.
        began: ``time.perf_counter()`` at which the minutes began; None: at the end of the suggestion.
        max_images: images whose objects are measured.
        timer: measures a run, see :func:`~segkit.dataset_tools.suggest.timing.measure_run`.
    """
    if minutes is not None and not 0 < minutes < float("inf"):
        raise SegkitError(f"minutes: expected a number above 0; got {minutes}", key="minutes", value=minutes)
    if memory is not None and not memory > 0:
        raise SegkitError(f"memory: expected gigabytes above 0; got {memory}", key="memory", value=memory)
    texts = list(overrides or [])
    given = {key: node.plain() for key, node in parse_overrides(texts)}
    chosen = choose_device(given.get("train.device", device), key="device")
    pretrained = None if weights is None else recognize_weights(weights)
    source = open_source(data, format, overrides=texts)
    facts = gather(source, chosen.type, free_memory(chosen) if memory is None else memory * 1e9, max_images)
    draft = Draft(
        SIZES[0],
        schedule_without_time(len(source.train), 4, 1),  # until batch and validation images are known
        pretrained=pretrained,
        output_dir=output_dir or f"output/fit/{source.name}",
        device=device,
    )
    times = None
    seconds = math.inf if minutes is None else 60 * minutes
    if minutes is not None:
        draft, times = _fitting(facts, draft, texts, seconds, timer)
        if times.evaluation > 0:
            draft = replace(draft, most_val_images=max(1, int(MOST_EVALUATION * seconds / times.evaluation)))
    cfg, _ = build_config(choose_all(facts, draft), texts)
    images, val_images = _image_counts(cfg, facts.source)
    batch = _batch(cfg)
    steps = None  # unless they are given
    if given.keys() & set(LENGTH_KEYS):
        steps = cfg.train.iterations or math.ceil((cfg.train.epochs or 0) * images / batch)
    if times is None:
        schedule = schedule_without_time(images, batch, val_images, steps)
    else:
        schedule = schedule_within(
            seconds, times, images=images, batch=batch, val_images=val_images, steps=steps,
            spent=0.0 if began is None else time.perf_counter() - began,
        )  # fmt: skip
    return finish(facts, replace(draft, schedule=schedule, step_images=batch), texts, times)


def _fitting(facts: Facts, draft: Draft, overrides: list[str], seconds: float, timer: Timer) -> tuple[Draft, RunTimes]:
    """The draft with the largest model that has time for enough steps, and the model's times."""
    found: tuple[Draft, RunTimes] | None = None
    images = len(facts.source.train)
    for size in SIZES:
        if found is not None and (draft.pretrained is not None or size.least_images > images):
            break
        tried = replace(draft, size=size)
        try:
            tried, times = _measured(facts, tried, overrides, seconds, timer)
        except SegkitError:
            if found is None:
                raise
            break  # the larger model does not fit
        cfg, _ = build_config(choose_all(facts, tried), overrides)
        steps = seconds_for_steps(seconds, times, 0) / times.step
        enough = max(ENOUGH_STEPS, ENOUGH_PASSES * images / _batch(cfg))
        if found is not None and steps < enough:
            break
        found = tried, times
        if steps < 2 * enough:
            break
    assert found is not None
    return found


def _measured(facts: Facts, draft: Draft, overrides: list[str], seconds: float, timer: Timer) -> tuple[Draft, RunTimes]:
    """Measures a draft with the batch that fits into the memory, as a first measurement shows."""
    measured: dict[int, tuple[Draft, RunTimes]] = {}
    while True:
        cfg, _ = build_config(choose_all(facts, draft), overrides)
        batch = cfg.data.batch_size
        if batch in measured:
            return measured[batch]
        try:
            times = timer(_as_trained(cfg, facts), MEASURED_SHARE * seconds)
        except OutOfMemory as error:
            if batch == 1 or any(key == "data.batch_size" for key, _ in parse_overrides(overrides)):
                raise SegkitError(
                    f"a batch of {batch} does not fit into the memory; reduce the crop of data.train_transforms, or use "
                    "another device",
                    key="data.batch_size",
                    value=batch,
                ) from error
            draft = replace(draft, most_batch=batch // 2)
            continue
        measured[batch] = replace(draft, measured=(batch, times.memory) if times.memory > 0 else None), times
        draft = measured[batch][0]


def _as_trained(cfg: Config, facts: Facts) -> Config:
    """The configuration with about as many detections as a trained model has.

    An untrained one has as many as the limit allows, so that its evaluation is slower.
    """
    heads = cfg.model.get("roi_heads")
    if not isinstance(heads, Mapping) or "detections_per_image" not in heads:
        return cfg
    likely = max(LEAST_DETECTIONS, math.ceil(DETECTIONS_PER_OBJECT * float(facts.stats.counts.mean())))
    limit = min(heads["detections_per_image"], likely)
    return cfg.with_values({"model.roi_heads.detections_per_image": limit}, "measurement")


def _batch(cfg: Config) -> int:
    """Images of a step."""
    return cfg.data.batch_size * cfg.train.accumulate


def _image_counts(cfg: Config, source: Source) -> tuple[int, int]:
    """Numbers of training and validation images; overrides may have set ``data.val``."""
    val, train = cfg.data.val, source.train
    if isinstance(val, SplitConfig):
        first, second = split_dataset(train, val.from_train, val.seed, val.stratify, val.group)
        return len(first), len(second)
    if val is None:
        return len(train), 0
    plain = to_plain(val)
    if source.val is not None and all(plain.get(key) == value for key, value in source.val.spec.items()):
        return len(train), source.val.images  # the spec has further keys, which are defaults
    if plain["format"] == "subset" and plain.get("count"):
        return len(train), int(plain["count"])
    return len(train), len(source.open(val, "data.val"))
