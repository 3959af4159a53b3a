"""The rows of a study's tables: means, intervals, differences, and a sentence for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from segkit.engine.hooks.evaluation import to_score
from segkit.evaluation.intervals import Interval
from segkit.study.plan import Plan, PlannedRun
from segkit.study.state import Result
from segkit.study.statistics import LEVEL, Difference, mean, paired_difference, t_interval
from segkit.study.study_file import RowEntry, StudyDescription, TableEntry
from segkit.utils.errors import counted

DEFAULT = "results"  # name of the table of all runs, if the file has none


@dataclass(frozen=True)
class Row:
    """One variant in a table.

    Attributes:
        run: name of the variant.
        label: what the table calls it.
        values: metric by seed, of the finished runs.
        planned: number of seeds.
        interval: of the mean over seeds; None with fewer than two.
        difference: to the baseline; None for the baseline itself, and without a common seed.
        published: the figure that others have published.
        sentence: what the difference shows; empty for the baseline.
    """

    run: str
    label: str
    values: Mapping[int, float]
    planned: int
    interval: Interval | None
    difference: Difference | None
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
    image_difference: Callable[[PlannedRun, PlannedRun, str], Difference | None],
) -> list[Table]:
    """Makes the tables of the runs that are finished.

    Args:
        study: the file.
        plan: its runs.
        results: by variant and seed.
        image_difference: the difference of two runs over their images, for a metric; asked where there is one seed.
    """
    entries = dict(study.tables)
    if not entries and plan.variants:
        entries = {DEFAULT: TableEntry(title="Results", rows=tuple(RowEntry(run=name) for name in plan.variants))}
    builder = _Builder(plan, results, image_difference)
    return [builder.table(name, entry, entry.metric or study.settings.metric) for name, entry in entries.items()]


class _Builder:
    def __init__(
        self,
        plan: Plan,
        results: Mapping[tuple[str, int], Result],
        image_difference: Callable[[PlannedRun, PlannedRun, str], Difference | None],
    ) -> None:
        self.plan, self.results, self.image_difference = plan, results, image_difference

    def table(self, name: str, entry: TableEntry, metric: str) -> Table:
        base = next(row for row in entry.rows if row.run == (entry.baseline or entry.rows[0].run))
        rows = [self._row(row, base, metric) for row in entry.rows]
        missing = [
            f"{row.label} ({len(row.values)} of {row.planned} seeds)" for row in rows if len(row.values) < row.planned
        ]
        notes = [f"Not finished: {', '.join(missing)}."] if missing else []
        return Table(name, entry.title or name, metric, base.label or base.run, rows, notes)

    def _row(self, row: RowEntry, base: RowEntry, metric: str) -> Row:
        values = self._values(row.run, metric)
        label, sentence = row.label or row.run, ""
        difference = None
        if row.run != base.run:
            difference = self._difference(row.run, base.run, metric)
            if difference is not None:
                sentence = difference_sentence(label, base.label or base.run, difference, metric)
        planned = len(self.plan.of_variant(row.run))
        return Row(
            row.run, label, values, planned, t_interval(list(values.values())), difference, row.published, sentence
        )

    def _values(self, variant: str, metric: str) -> dict[int, float]:
        found = {run.seed: self.results.get((variant, run.seed)) for run in self.plan.of_variant(variant)}
        return {seed: one.value(metric) for seed, one in sorted(found.items()) if one is not None}

    def _difference(self, variant: str, baseline: str, metric: str) -> Difference | None:
        over_seeds = paired_difference(self._values(variant, metric), self._values(baseline, metric))
        if over_seeds is None or over_seeds.pairs > 1:
            return over_seeds
        common = self._values(variant, metric).keys() & self._values(baseline, metric).keys()
        pair = [next(run for run in self.plan.of_variant(name) if run.seed in common) for name in (variant, baseline)]
        return self.image_difference(pair[0], pair[1], metric) or over_seeds


def difference_sentence(label: str, baseline: str, difference: Difference, metric: str) -> str:
    """Says what a difference shows, in one sentence.

    >>> difference_sentence("B", "A", Difference(0.05, 0.01, 0.09, 3), "segm/AP")
    'B is better than A by 0.050 (95 % interval 0.010 to 0.090 over 3 seeds).'
    """
    if difference.low is None or difference.high is None:
        return (
            f"No difference shown between {label} and {baseline}: {signed(difference.value)} with one seed each, which has no "
            "interval."
        )
    over = counted(difference.pairs, difference.unit.removesuffix("s"))
    if difference.unit == "images":
        over += " of one seed; another seed may differ"
    if not difference.shown:
        interval = f"{100 * LEVEL:g} % interval {signed(difference.low)} to {signed(difference.high)} over {over}"
        return f"No difference shown between {label} and {baseline}: {signed(difference.value)} ({interval})."
    better = to_score(metric, difference.value) > 0
    ends = sorted(abs(end) for end in (difference.low, difference.high))
    interval = f"{100 * LEVEL:g} % interval {ends[0]:.3f} to {ends[1]:.3f} over {over}"
    kind = "better" if better else "worse"
    return f"{label} is {kind} than {baseline} by {abs(difference.value):.3f} ({interval})."


def signed(value: float) -> str:
    """A difference with its sign, and three digits."""
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text
