"""``segkit dataset stats``: tables, plots and configuration lines of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segkit.config.commented_yaml import write_commented_yaml
from segkit.data.formats.base import Dataset
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.stats.measure import DatasetStats, measure
from segkit.dataset_tools.stats.plots import write_plots
from segkit.dataset_tools.stats.report import as_dict, as_text
from segkit.dataset_tools.suggest.choices import Choices
from segkit.dataset_tools.suggest.draft import Draft, choose_all
from segkit.dataset_tools.suggest.facts import facts_of
from segkit.dataset_tools.suggest.memory import free_memory
from segkit.dataset_tools.suggest.model import SIZES
from segkit.dataset_tools.suggest.schedule import schedule_without_time
from segkit.dataset_tools.suggest.source import Source
from segkit.dataset_tools.suggest.validation import choose_train_split
from segkit.utils.device import choose_device

# Keys that follow from the statistics alone.
LINES = (
    "model.proposal_generator.anchor_generator.sizes",
    "model.proposal_generator.anchor_generator.aspect_ratios",
    "model.proposal_generator.pre_nms_top_k",
    "model.proposal_generator.post_nms_top_k",
    "model.roi_heads.detections_per_image",
    "data.channels",
    "data.measure_pixel_stats",
    "data.intensity",
    "data.train_transforms",
    "data.test_transforms",
    "data.batch_size",
    "data.sampler",
)


def measure_splits(
    source: str, format: str | None, max_images: int, seed: int
) -> tuple[dict[str, DatasetStats], str, Choices | None]:
    """Measures each split of a data set.

    Returns:
        the statistics by split, what the data were taken for, and the lines of a configuration (None without objects).
    """
    opened = open_data(source, format)
    found = {
        name: measure(dataset, max_images=max_images, seed=seed)
        for name, dataset in opened.splits.items()
        if len(dataset)
    }
    name = choose_train_split(list(found)) if found else None
    lines = None
    if name is not None and len(found[name].objects):
        lines = config_lines(opened.splits[name], found[name], opened.reason)
    return found, opened.reason, lines


def config_lines(dataset: Dataset, stats: DatasetStats, reason: str) -> Choices:
    """The choices of a configuration that follow from the statistics, for this machine."""
    device = choose_device()
    facts = facts_of(Source(dataset, {}, None, reason, "data"), stats, device.type, free_memory(device))
    draft = Draft(SIZES[0], schedule_without_time(stats.images, 4, 0))
    return choose_all(facts, draft).only(LINES)


def report(
    source: str, *, format: str | None, max_images: int, seed: int, plots: str | None
) -> tuple[str, dict[str, Any]]:
    """The report as text and as plain values; writes the plots if ``plots`` names a folder."""
    found, reason, lines = measure_splits(source, format, max_images, seed)
    parts = [f"taken for {reason}"]
    content: dict[str, Any] = {"data": source, "recognised": reason, "splits": {}, "config": None}
    for name, stats in found.items():
        text = as_text(stats)
        parts.append(f"split {name}\n{text}" if len(found) > 1 else text)
        content["splits"][name] = as_dict(stats)
        if plots is not None:
            written = write_plots(stats, Path(plots), f"stats_{name}")
            parts.append(f"plots: {', '.join(map(str, written))}")
    if lines is not None:
        text = write_commented_yaml(lines.tree(), lines.comments())
        parts.append(f"Lines of a configuration that follow (segkit fit writes all of it):\n\n{text}")
        content["config"] = {"values": lines.tree(), "reasons": lines.comments()}
    elif found:
        parts.append("There are no objects, so that no lines of a configuration follow.")
    return "\n\n".join(parts), content
