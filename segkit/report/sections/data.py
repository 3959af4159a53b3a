"""What was trained and evaluated on: images, classes, sizes, faults of the annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from segkit.data.formats.base import Dataset
from segkit.dataset_tools.check.kinds import KINDS
from segkit.dataset_tools.check.run import check_dataset
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.stats.objects import sampled_indices
from segkit.diagnosis.settings import ModelSettings
from segkit.report.analysis import ReportOptions, RunAnalysis
from segkit.report.cells import Cell, count, head, words
from segkit.report.sections.base import Section, fill
from segkit.report.svg import Bar, bar_chart
from segkit.utils.errors import SegkitError, counted

MOST_CLASSES = 24  # in the chart of class balance
COCO_LIMIT = 100  # detections of an image, of a model whose limit is unknown
EDGES = (0, 8, 16, 32, 64, 128, 256, 512, np.inf)  # of the sides of boxes, pixels
TRAIN_COLOR, VAL_COLOR = 5, 0


@dataclass(frozen=True)
class SplitFacts:
    """The objects of a split.

    Attributes:
        name: ``training`` or ``validation``.
        images: number of images.
        measured: of how many of them the objects were measured.
        by_class: int64 [K], objects of each class in the measured images.
        sides: float64 [N], square roots of the boxes' areas, in pixels.
        counts: int64 [measured], objects of each image.
        what: format and path.
    """

    name: str
    images: int
    measured: int
    by_class: np.ndarray
    sides: np.ndarray
    counts: np.ndarray
    what: str


def section(runs: Sequence[RunAnalysis], options: ReportOptions) -> Section:
    """Facts about the validation data and the training data of the runs."""
    first = runs[0]
    validation = validation_facts(first)
    trainings: list[tuple[RunAnalysis, SplitFacts]] = []
    missing: list[tuple[RunAnalysis, str]] = []
    checks: list[dict[str, Any]] = []
    seen: list[Any] = []
    for run in runs:
        if run.run.config is None:
            missing.append((run, "it is a results file without a configuration"))
            continue
        source = run.run.config.to_dict()["data"]
        key = [source["train"], source["val"]]
        if key in seen:
            continue
        seen.append(key)
        try:
            splits = open_data(str(run.run.path / "config.yaml")).splits
            trainings.append((run, measured_facts("training", splits["train"], first.data.classes, options)))
            checks.append(_check(run, splits, options))
        except (SegkitError, OSError) as error:
            missing.append((run, str(error)))
    charts = [_balance(trainings, validation, first.data.classes), _sizes(trainings, validation)]
    body = fill(
        "data.html",
        rows=_rows(trainings, validation, len(runs) > 1),
        charts=charts,
        checks=checks,
        missing=missing,
        several=len(runs) > 1,
    )
    return Section("data", "Data", "What it was trained and evaluated on", body)


def validation_facts(run: RunAnalysis) -> SplitFacts:
    """The objects that the run was evaluated on, from its overlaps."""
    images = run.data.images
    labels = np.concatenate([np.zeros(0, np.int64), *(image.object_labels for image in images)])
    boxes = np.concatenate([np.zeros((0, 4)), *(image.object_boxes for image in images)])
    return SplitFacts(
        "validation",
        len(images),
        len(images),
        np.bincount(labels, minlength=len(run.data.classes)),
        np.sqrt(boxes[:, 2] * boxes[:, 3]),
        np.array([len(image.object_labels) for image in images], np.int64),
        run.run.dataset.describe(),
    )


def measured_facts(name: str, dataset: Dataset, classes: Sequence[str], options: ReportOptions) -> SplitFacts:
    """The objects of a data set, of a random sample of its images if there are many."""
    indices = sampled_indices(len(dataset), max(options.measured_images, 1), options.seed)
    by_class = np.zeros(max(len(classes), len(dataset.classes)), np.int64)
    sides, counts = [np.zeros(0)], []
    for index in indices.tolist():
        targets = dataset.targets(index)
        targets = targets[~targets.crowd & ~targets.degenerate()]
        boxes = targets.boxes.numpy().astype(np.float64)
        sides.append(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
        by_class += np.bincount(targets.labels.numpy(), minlength=len(by_class))
        counts.append(len(targets))
    if len(classes) == 1 and len(dataset.classes) > 1:  # the detections of the run have no class
        by_class = by_class.sum(keepdims=True)
    what = dataset.describe()
    return SplitFacts(
        name, len(dataset), len(indices), by_class, np.concatenate(sides), np.array(counts, np.int64), what
    )


def _rows(trainings: Sequence[tuple[RunAnalysis, SplitFacts]], validation: SplitFacts, several: bool) -> dict[str, Any]:
    heads = [words("split"), head("images"), head("objects"), head("an image"), head("median side, px"), words("data")]
    rows = []
    splits = [
        (f"training of {run.label}" if several and len(trainings) > 1 else "training", one) for run, one in trainings
    ]
    for name, one in [*splits, ("validation", validation)]:
        objects = int(one.counts.sum())
        of = "" if one.measured == one.images else f"in {one.measured:,} measured images"
        sides = f"{np.median(one.sides):.0f}" if len(one.sides) else "–"
        each = f"{objects / one.measured:.1f}" if one.measured else "–"
        rows.append(
            [
                words(name),
                count(one.images),
                Cell(f"{objects:,}", float(objects), number=True, small=of),
                Cell(each, number=True),
                Cell(sides, number=True),
                words(one.what),
            ]
        )
    return {"heads": heads, "rows": rows}


def _balance(
    trainings: Sequence[tuple[RunAnalysis, SplitFacts]], validation: SplitFacts, classes: Sequence[str]
) -> Markup:
    splits = [*(facts for _, facts in trainings), validation]
    order = np.argsort(-splits[0].by_class[: len(classes)], kind="stable")[:MOST_CLASSES]
    rows = []
    for k in order.tolist():
        bars = []
        for facts in splits:
            total = max(int(facts.by_class.sum()), 1)
            share = float(facts.by_class[k]) / total
            color = VAL_COLOR if facts is validation else TRAIN_COLOR
            bars.append(Bar(share, f"{100 * share:.1f} % ({facts.by_class[k]:,})", color))
        rows.append((classes[k], bars))
    more = f", the first {MOST_CLASSES} of {len(classes)}" if len(classes) > MOST_CLASSES else ""
    return bar_chart(f"Class balance: share of the objects{more}", rows, description="Training and validation data.")


def _sizes(trainings: Sequence[tuple[RunAnalysis, SplitFacts]], validation: SplitFacts) -> Markup:
    splits = [*(facts for _, facts in trainings), validation]
    histograms = [np.histogram(facts.sides, np.array(EDGES))[0] for facts in splits]
    used = [i for i in range(len(EDGES) - 1) if any(found[i] for found in histograms)]
    rows = []
    for i in range(used[0], used[-1] + 1) if used else ():
        low, high = EDGES[i], EDGES[i + 1]
        name = f"from {low:g} px" if high == np.inf else f"{low:g} to {high:g} px"
        bars = []
        for facts, found in zip(splits, histograms, strict=True):
            share = float(found[i]) / max(int(found.sum()), 1)
            color = VAL_COLOR if facts is validation else TRAIN_COLOR
            bars.append(Bar(share, f"{100 * share:.1f} % ({found[i]:,})", color))
        rows.append((name, bars))
    return bar_chart("Sizes of the objects: side of the box", rows, empty="no objects")


def _check(run: RunAnalysis, splits: Mapping[str, Dataset], options: ReportOptions) -> dict[str, Any]:
    """A check of the annotations without pixels, if there are not too many images."""
    images = sum(map(len, splits.values()))
    file = run.run.path / "config.yaml"
    if images > options.checked_images:
        text = (
            f"The annotations of {counted(images, 'image')} were not checked here, which takes time: segkit dataset check "
            f"{file} does it."
        )
        return {"run": run, "text": text, "rows": []}
    limit = ModelSettings.from_config(run.run.config).detections_per_image or COCO_LIMIT
    report = check_dataset(str(file), pixels=False, workers=0, detections=limit)
    rows = []
    for kind, number in report.counts().items():
        example = report.of_kind(kind)[0]
        where = example.where()
        rows.append(
            {
                "severity": KINDS[kind].severity,
                "title": KINDS[kind].title,
                "count": f"{number:,}",
                "advice": KINDS[kind].advice,
                "example": f"{where}: {example.message}" if where else example.message,
            }
        )
    text = f"Annotations of {counted(images, 'image')} checked, without pixels: {report.sentence}."
    return {"run": run, "text": text, "rows": rows}
