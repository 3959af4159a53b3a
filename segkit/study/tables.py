"""The rows of a study's tables: means, intervals, differences, and a sentence for each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from segkit.engine.hooks.evaluation import to_score
from segkit.evaluation.intervals import Interval
from segkit.study.plan import Plan, PlannedRun
from segkit.study.state import Result
from segkit.study.statistics import LEVEL, Difference, mean, paired_difference, t_interval
from segkit.study.study_file import RowEntry, StudyDescription, TableEntry
from segkit.utils.errors import counted

ImageComparison = Callable[[Sequence[PlannedRun], Sequence[PlannedRun], str], Difference | None]
DEFAULT = "results"  # name of the table of all runs, if the file has none


@dataclass(frozen=True)
class Row:
    """One variant in a table.

    Attributes:
        run: name of the variant.
        label: what the table calls it.
        values: metric by seed, of the finished runs that have it.
        planned: number of seeds.
        finished: number of finished runs.
        interval: of the mean over seeds; None with fewer than two.
        difference: to the baseline over seeds; None for the baseline itself, and without a common seed.
        over_images: the same difference with its interval over images, and over seeds if there are several; None if it is
            unknown.
        published: the figure that others have published.
        sentence: what the difference shows; empty for the baseline.
    """

    run: str
    label: str
    values: Mapping[int, float]
    planned: int
    finished: int
    interval: Interval | None
    difference: Difference | None
    over_images: Difference | None
    published: float | None
    sentence: str

    @property
    def mean(self) -> float | None:
        """Over the seeds; None if none is finished."""
        return mean([self.values[seed] for seed in sorted(self.values)]) if self.values else None


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name, title: as in the file.
        metric: what it compares.
        baseline: label of the row that the others are compared with.
        rows: in the file's order.
        notes: sentences that hold for the whole table.
    """

    name: str
    title: str
    metric: str
    baseline: str
    rows: Sequence[Row]
    notes: Sequence[str]


def make_tables(
    study: StudyDescription,
    plan: Plan,
    results: Mapping[tuple[str, int], Result],
    compare_images: ImageComparison,
) -> list[Table]:
    """Makes the tables of the runs that are finished.

    Args:
        study: the file.
        plan: its runs.
        results: by variant and seed.
        compare_images: the difference of the runs of two variants over their images, for a metric.
    """
    entries = dict(study.tables)
    if not entries and plan.variants:
        entries = {DEFAULT: TableEntry(title="Results", rows=tuple(RowEntry(run=name) for name in plan.variants))}
    builder = _Builder(plan, results, compare_images)
    return [builder.table(name, entry, entry.metric or study.settings.metric) for name, entry in entries.items()]


class _Builder:
    def __init__(
        self,
        plan: Plan,
        results: Mapping[tuple[str, int], Result],
        compare_images: ImageComparison,
    ) -> None:
        self.plan, self.results, self.compare_images = plan, results, compare_images

    def table(self, name: str, entry: TableEntry, metric: str) -> Table:
        base = next(row for row in entry.rows if row.run == (entry.baseline or entry.rows[0].run))
        self._check_metric(entry, metric)
        rows = [self._row(row, base, metric) for row in entry.rows]
        notes = []
        if missing := [
            f"{row.label} ({row.finished} of {row.planned} seeds)" for row in rows if row.finished < row.planned
        ]:
            notes.append(f"Not finished: {', '.join(missing)}.")
        if missing := [row.label for row in rows if len(row.values) < row.finished]:
            notes.append(f"Evaluations without {metric}: {', '.join(missing)}.")
        return Table(name, entry.title or name, metric, base.label or base.run, rows, notes)

    def _row(self, row: RowEntry, base: RowEntry, metric: str) -> Row:
        values = self._values(row.run, metric)
        label, sentence = row.label or row.run, ""
        difference = over_images = None
        if row.run != base.run:
            other = self._values(base.run, metric)
            difference = paired_difference(values, other)
            if difference is not None:
                sides = [self._runs(name, values.keys() & other.keys()) for name in (row.run, base.run)]
                over_images = self.compare_images(sides[0], sides[1], metric)
                sentence = difference_sentence(label, base.label or base.run, metric, difference, over_images)
        runs = self.plan.of_variant(row.run)
        finished = sum((run.variant, run.seed) in self.results for run in runs)
        interval = t_interval(list(values.values()))
        return Row(
            row.run, label, values, len(runs), finished, interval, difference, over_images, row.published, sentence
        )

    def _check_metric(self, entry: TableEntry, metric: str) -> None:
        """Raises SegkitError if runs are finished and none of their evaluations has the metric."""
        variants = {row.run for row in entry.rows}
        found = [one for (variant, _), one in self.results.items() if variant in variants]
        if found and not any(metric in one.metrics for one in found):
            found[0].value(metric)

    def _runs(self, variant: str, seeds: Collection[int]) -> list[PlannedRun]:
        return [run for run in self.plan.of_variant(variant) if run.seed in seeds]

    def _values(self, variant: str, metric: str) -> dict[int, float]:
        found = {run.seed: self.results.get((variant, run.seed)) for run in self.plan.of_variant(variant)}
        values = {seed: one.metrics.get(metric) for seed, one in sorted(found.items()) if one is not None}
        return {seed: value for seed, value in values.items() if value is not None}


def difference_sentence(
    label: str, baseline: str, metric: str, difference: Difference, over_images: Difference | None = None
) -> str:
    """Says what a difference shows, in one sentence.

    It is better or worse only if every known interval, over seeds and over images, excludes zero on the same side.

    >>> difference_sentence("B", "A", "segm/AP", Difference(0.05, 0.01, 0.09, 3))
    'B is better than A by 0.050 (95 % interval +0.010 to +0.090 over 3 seeds).'
    """
    known = [one for one in (difference, over_images) if one is not None and one.low is not None]
    parts = [f"{signed(one.low or 0.0)} to {signed(one.high or 0.0)} {_over(one, difference.pairs)}" for one in known]
    detail = f"{100 * LEVEL:g} % interval {', '.join(parts)}" if parts else "one seed each has no interval"
    if difference.pairs == 1 and over_images is not None:
        detail += "; another seed may differ"
    if known and all(one.shown and one.value * difference.value > 0 for one in known):
        kind = "better" if to_score(metric, difference.value) > 0 else "worse"
        return f"{label} is {kind} than {baseline} by {abs(difference.value):.3f} ({detail})."
    return f"No difference shown between {label} and {baseline}: {signed(difference.value)} ({detail})."


def _over(difference: Difference, seeds: int) -> str:
    """What an interval is over."""
    count = counted(difference.pairs, difference.unit.removesuffix("s"))
    return f"over {count} and the seeds" if difference.unit == "images" and seeds > 1 else f"over {count}"


def signed(value: float) -> str:
    """A difference with its sign, and three digits."""
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text
