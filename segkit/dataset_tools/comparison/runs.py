"""Opens the runs of a comparison, and groups those that differ in their seed only."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from segkit.data.formats import Dataset
from segkit.dataset_tools.source import open_data
from segkit.diagnosis.comparison import RunGroup
from segkit.engine.config_diff import ConfigChange, config_diff
from segkit.engine.finished_run import FinishedRun, finished_run, open_finished_run
from segkit.evaluation.coco_matching import IouType
from segkit.utils.errors import SegkitError, first_few

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedGroup:
    """Runs that count as one, and the name they have together."""

    name: str
    runs: tuple[FinishedRun, ...]

    def overlaps(self, iou_type: IouType) -> RunGroup:
        """Computes the overlaps of each run."""
        return RunGroup(self.name, {str(run.path): run.overlaps(iou_type) for run in self.runs})


def open_groups(
    words: Sequence[str],
    *,
    data: str | None = None,
    format: str | None = None,
    split: str | None = None,
    separate: bool = False,
) -> list[OpenedGroup]:
    """Opens runs.

    Runs given one by one are grouped if their configurations differ in ``train.seed`` and ``output_dir`` only; unless then
    all are of one group.

    Args:
        words: ``RUN``, or ``RUN,RUN,...`` for several seeds of one configuration, or ``NAME=RUN,RUN``. A run is a folder,
            or a results file.
        data: ground truth of results files.
        format: of the data; None: recognised by content.
        split: of the data; None: ``val``, or the only one.
        separate: group no runs but those joined by commas.
    Raises:
        SegkitError: no run, a run that has not been evaluated, one run only, a results file without data.
    """
    opened = None if data is None else open_data(data, format)
    dataset = None if opened is None else opened.split(split, str(data))
    agnostic = opened is not None and opened.class_agnostic
    parts = [_parse(word) for word in words]
    paths = [path for _, of_word in parts for path in of_word]
    twice = {path for path in paths if [os.path.realpath(p) for p in paths].count(os.path.realpath(path)) > 1}
    if twice:
        raise SegkitError(f"a run is compared with other ones, {first_few(sorted(twice))} occurs twice", key="runs")
    if len(paths) < 2:
        raise SegkitError(
            f"a comparison needs two or more runs, got {'none' if not paths else paths[0]}: segkit compare RUN_A RUN_B",
            key="runs",
        )
    given = [(name, tuple(_open(path, dataset, agnostic) for path in of_word)) for name, of_word in parts]
    grouped = given if separate else _group(given)
    if len(grouped) < 2:
        logger.info("all runs are of one configuration: they are compared one by one")
        grouped = [(None, (run,)) for _, runs in given for run in runs]
    return _named(grouped)


def differing_keys(first: OpenedGroup, second: OpenedGroup) -> list[ConfigChange] | None:
    """Returns the config keys in which two groups differ; None without a configuration."""
    one, other = first.runs[0].config, second.runs[0].config
    if one is None or other is None:
        return None
    several = max(len(first.runs), len(second.runs)) > 1
    hidden = ("output_dir", "train.seed") if several else ("output_dir",)
    return [change for change in config_diff(one.to_dict(), other.to_dict()) if change.key not in hidden]


def _parse(word: str) -> tuple[str | None, list[str]]:
    """The name and the paths in an argument; an existing path is taken as it is."""
    if os.path.exists(word):
        return None, [word]
    name, equals, rest = word.partition("=")
    paths = [path.strip() for path in (rest if equals else word).split(",") if path.strip()]
    if not paths:
        raise SegkitError(f"'{word}' names no run", key="runs", value=word)
    return (name.strip() or None) if equals else None, paths


def _open(path: str, dataset: Dataset | None, class_agnostic: bool) -> FinishedRun:
    if not os.path.isfile(path):
        return open_finished_run(path)
    if dataset is None:
        raise SegkitError(f"{path} is a results file; its ground truth is needed: --data DATA", key="data", value=path)
    return finished_run(Path(path).stem, path, dataset, class_agnostic=class_agnostic)


def _group(
    given: Sequence[tuple[str | None, tuple[FinishedRun, ...]]],
) -> list[tuple[str | None, tuple[FinishedRun, ...]]]:
    """Joins single runs of one configuration."""
    groups: dict[Any, tuple[str | None, tuple[FinishedRun, ...]]] = {}
    for i, (name, runs) in enumerate(given):
        key: Any = i
        if name is None and len(runs) == 1 and runs[0].config is not None:
            content = runs[0].config.to_dict()
            train = {key: value for key, value in content["train"].items() if key != "seed"}
            key = json.dumps({**content, "output_dir": None, "train": train}, sort_keys=True, default=str)
        before = groups.get(key, (name, ()))[1]
        groups[key] = (name, (*before, *runs))
    return list(groups.values())


def _named(grouped: Sequence[tuple[str | None, tuple[FinishedRun, ...]]]) -> list[OpenedGroup]:
    """Groups with names that differ: given, what the runs' names begin with, or their paths."""
    names = [name or _common_name([run.name for run in runs]) for name, runs in grouped]
    for i, (name, runs) in enumerate(grouped):
        if names.count(names[i]) > 1 and name is None:
            names[i] = str(runs[0].path)
    return [OpenedGroup(name, runs) for name, (_, runs) in zip(names, grouped, strict=True)]


def _common_name(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    low, high = min(names), max(names)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
    return low[:same].rstrip("_-. 0123456789") or f"{names[0]} and {len(names) - 1} more"
