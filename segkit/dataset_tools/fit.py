"""``segkit fit``: suggests a configuration for a folder of data, writes it, and trains it."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segkit.config.loader import load_config
from segkit.config.overrides import parse_overrides
from segkit.dataset_tools.suggest.config import Timer, suggest
from segkit.dataset_tools.suggest.result import Suggestion, write_suggestion
from segkit.dataset_tools.suggest.source import name_of
from segkit.dataset_tools.suggest.timing import measure_run
from segkit.engine.dry_run import dry_run
from segkit.engine.run import train
from segkit.engine.run_dir import refuse_earlier_run
from segkit.utils.errors import SegkitError, counted, first_few
from segkit.utils.paths import output_folder

logger = logging.getLogger(__name__)
SUGGESTED = "suggested.yaml"


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What ``segkit fit`` is asked for.

    Attributes:
        data: folder or file.
        format: of the data; None: recognised by content.
        minutes: until the end of the run, from the start of the command; None: the length follows from the images.
        output: folder of the run; None: ``output/fit/NAME``.
        weights: to start from.
        device: as ``train.device``.
        memory: gigabytes.
        overrides: ``KEY=VALUE``.
    """

    data: str
    format: str | None = None
    minutes: float | None = None
    output: str | None = None
    weights: str | None = None
    device: str | None = None
    memory: float | None = None
    overrides: tuple[str, ...] = ()

    @property
    def run_dir(self) -> Path:
        """The folder of the run."""
        given = dict(parse_overrides(self.overrides)).get("output_dir")
        if given is not None:
            return output_folder(str(given.plain()), "output_dir")
        return output_folder(self.output or f"output/fit/{name_of(self.data)}", "--output")


def fit(
    options: FitOptions,
    *,
    resume: bool = False,
    restart: bool = False,
    only_try: bool = False,
    resume_command: str | None = None,
    timer: Timer = measure_run,
) -> dict[str, float]:
    """Suggests, prints and writes a configuration, and trains it.

    Args:
        options: the data and what is known about them.
        resume: continue the run of the same options from its last checkpoint, with its ``suggested.yaml``.
        restart: start again in a folder that holds a run.
        only_try: take one batch through everything that the run does, in place of the run.
        resume_command: what the user types to resume.
        timer: measures a run.
    Returns:
        The metrics of the last evaluation; empty without one.
    Raises:
        SegkitError: there is nothing to train on, the time is too short, or a mistake in the options.
    """
    began = time.perf_counter()
    run_dir = options.run_dir
    file = run_dir / SUGGESTED
    if resume:
        if not file.is_file():
            raise SegkitError(
                f"--resume: there is no {file}, so there is no run to continue; start it without --resume",
                value=str(file),
            )
        overrides = [*([f"train.device={options.device}"] if options.device else []), *options.overrides]
        metrics = train(load_config(file, overrides), resume=True, resume_command=resume_command)
        print(result(metrics, run_dir), flush=True)
        return metrics
    if not restart:
        refuse_earlier_run(run_dir)
    suggestion = suggest(
        options.data,
        options.minutes,
        options.device,
        options.memory,
        format=options.format,
        weights=options.weights,
        overrides=list(options.overrides),
        output_dir=str(run_dir),
        began=began,
        timer=timer,
    )
    print(summary(suggestion))
    write_suggestion(suggestion, file)
    advice = (
        f"; change what you know better, and train it with: segkit train {shlex.quote(str(file))}" if only_try else ""
    )
    print(f"written to {file}{advice}\n", flush=True)
    if only_try:
        dry_run(suggestion.config)
        return {}
    metrics = train(suggestion.config, restart=restart, resume_command=resume_command)
    minutes = (time.perf_counter() - began) / 60
    if options.minutes is not None and minutes > options.minutes:
        logger.warning(
            "the run took %.1f minutes in place of %g: its steps became slower than those measured at the start",
            minutes,
            options.minutes,
        )
    print(result(metrics, run_dir), flush=True)
    return metrics


def result(metrics: Mapping[str, float], run_dir: Path) -> str:
    """The last line of the command: AP (x 100) on the validation data, and the run's folder."""
    found = [f"{kind} AP {100 * metrics[f'{kind}/AP']:.2f}" for kind in ("segm", "bbox") if f"{kind}/AP" in metrics]
    text = f"{', '.join(found)} on the validation data" if found else "trained; nothing was evaluated"
    return f"{text}; models, log and pictures: {run_dir}"


def summary(suggestion: Suggestion) -> str:
    """What the data were taken for, and the configuration with the reasons."""
    stats = suggestion.stats
    sample = stats.is_sample and stats.all_counts is None
    objects = counted(int(stats.counts.sum()), "object") + (f" in {stats.measured:,} of them" if sample else "")
    classes = f"{counted(len(stats.classes), 'class', 'es')} ({first_few(stats.classes, 12)})"
    return (
        f"taken for {suggestion.reason}\n{counted(stats.images, 'image')}, {objects} of {classes}\n\n{suggestion.yaml}"
    )
