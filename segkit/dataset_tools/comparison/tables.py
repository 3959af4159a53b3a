"""A comparison as tables: text, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

from segkit.diagnosis.comparison import Comparison, Difference
from segkit.engine.config_diff import ConfigChange
from segkit.evaluation.intervals import Interval
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError
from segkit.utils.table_text import escape_csv, escape_latex, escape_markdown

HEADLINE = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "F1", "precision", "recall", "cells/AP@0.5", "cells/AP@0.5:0.95",
    "cells/image_AP@0.5:0.95", "cells/PQ", "cells/AJI", "cells/count_error",
)  # fmt: skip
SUFFIXES = (".csv", ".md", ".json", ".tex")


@dataclass(frozen=True)
class ComparisonReport:
    """A comparison with what its tables show besides.

    Attributes:
        comparison: of the groups.
        keys: the config keys in which a pair of groups differs, by the names of the two; None without a configuration.
        file_names: by image id.
        shown_images: images in the table of those that differ the most.
        metrics: metrics of the printed tables; files have all of them.
    """

    comparison: Comparison
    keys: Mapping[tuple[str, str], Sequence[ConfigChange] | None]
    file_names: Mapping[int, str]
    shown_images: int
    metrics: Sequence[str]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs that are compared."""
        return list(dict.fromkeys((one.first, one.second) for one in self.comparison.differences))

    def differences(self, pair: tuple[str, str], *, every: bool = False) -> list[Difference]:
        """The differences of a pair, of the printed metrics or of all."""
        return [
            one
            for one in self.comparison.differences
            if (one.first, one.second) == pair and (every or one.metric in self.metrics)
        ]

    def rows(self, pair: tuple[str, str], *, every: bool = False) -> list[list[str]]:
        """The cells of a pair's table, in the order of its headings."""
        at = [self.comparison.groups.index(name) for name in pair]
        return [
            [
                one.metric,
                *(with_interval(self.comparison.metrics[one.metric][i]) for i in at),
                with_interval(one.interval, signed=True),
                f"{100 * one.share_above:.0f} %",
                f"{one.adjusted_p:.3f}",
                one.verdict,
            ]
            for one in self.differences(pair, every=every)
        ]

    def image_rows(self, pair: tuple[str, str]) -> list[list[str]]:
        """The images that differ the most, the largest difference first."""
        first, second = (self.comparison.groups.index(name) for name in pair)
        scored = [(image, image.scores[second] - image.scores[first]) for image in self.comparison.images]
        scored = sorted((one for one in scored if one[1]), key=lambda one: -abs(one[1]))[: self.shown_images]
        return [
            [
                str(image.image_id), self.file_names.get(image.image_id, ""), str(image.objects),
                f"{100 * image.scores[first]:.1f}", f"{100 * image.scores[second]:.1f}", f"{100 * difference:+.1f}",
            ]
            for image, difference in scored
        ]  # fmt: skip

    def notes(self) -> list[str]:
        """What the intervals are, in sentences."""
        one = self.comparison
        level = next((100 * item.interval.level for item in one.differences), 95.0)
        seeds = [f"{name}: {count}" for name, count in zip(one.groups, one.seeds, strict=True)]
        over = "images and of the runs of each group" if max(one.seeds) > 1 else "images"
        notes = [
            f"{level:g} % intervals of {one.resamples} paired bootstrap resamples of the {over} ({len(one.images)} images; "
            f"runs: {', '.join(seeds)}); metrics times 100."
        ]
        if min(one.seeds) == 1:
            notes.append("A group of one run: its intervals do not cover another training with another seed.")
        if max(one.seeds) in (2, 3):
            notes.append("With two or three runs of a configuration, what the seed changes is known roughly.")
        if len(self.pairs) > 1:
            notes.append(
                f"p is corrected for the {len(self.pairs)} pairs of runs (Holm), not for the number of metrics."
            )
        else:
            notes.append("p is not corrected for the number of metrics: choose one before you look.")
        return notes


def headline(names: Sequence[str]) -> list[str]:
    """The metrics of the printed tables."""
    short = {name: name if name.startswith("cells/") else name.partition("/")[2] for name in names}
    classes = [name for name in names if short[name].startswith("AP-")]
    return [name for name in names if short[name] in HEADLINE or name in classes]


def with_interval(one: Interval, *, signed: bool = False) -> str:
    """A metric and its interval, times 100: ``43.7 [40.1, 47.2]``."""
    value, low, high = (f"{round(100 * x, 1) + 0.0:{'+' if signed else ''}.1f}" for x in (one.value, one.low, one.high))
    return f"{value} [{low}, {high}]"


def as_text(report: ComparisonReport) -> str:
    """The tables for a terminal."""
    return _sections(report, _text_table, str, "{}:", every=False)


def write_tables(report: ComparisonReport, path: Path) -> Path:
    """Writes the comparison with all metrics, in the format of the file's suffix."""
    makers = {".csv": as_csv, ".md": as_markdown, ".json": as_json, ".tex": as_latex}
    text = makers[check_suffix(path)](report)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def check_suffix(path: Path) -> str:
    """Returns the suffix of an output file; raises SegkitError if it is unknown."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SegkitError(
            f"--output {path}: expected a name that ends with {', '.join(SUFFIXES)}",
            key="--output", value=str(path),
        )  # fmt: skip
    return suffix


def as_markdown(report: ComparisonReport) -> str:
    """All tables and sentences as Markdown."""
    return _sections(report, _markdown_table, escape_markdown, "## {}", every=True) + "\n"


def as_latex(report: ComparisonReport) -> str:
    """A LaTeX ``table`` environment for each pair; needs no package."""
    parts = []
    for number, pair in enumerate(report.pairs):
        head, rows = _headings(pair), report.rows(pair, every=True)
        lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * (len(head) - 2)}l}}", r"\hline"]
        lines += [f"{' & '.join(map(escape_latex, head))} \\\\", r"\hline"]
        lines += [f"{' & '.join(map(escape_latex, row))} \\\\" for row in rows]
        caption = " ".join([f"{pair[1]} against {pair[0]}.", *report.notes()])
        lines += [r"\hline", r"\end{tabular}", rf"\caption{{{escape_latex(caption)}}}"]
        parts.append("\n".join([*lines, rf"\label{{tab:comparison-{number + 1}}}", r"\end{table}"]))
    return "\n\n".join(parts) + "\n"


def as_csv(report: ComparisonReport) -> str:
    """A line for each metric and pair, in full precision, 0..1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("first", "first_low", "first_high", "second", "second_low", "second_high")
    writer.writerow(
        ["first_run", "second_run", "metric", *names, "difference", "low", "high", "level", "share_above", "p",
         "adjusted_p", "verdict", "sentence"]
    )  # fmt: skip
    one = report.comparison
    for item in one.differences:
        ends = [one.metrics[item.metric][one.groups.index(name)] for name in (item.first, item.second)]
        values = [x for end in (*ends, item.interval) for x in (end.value, end.low, end.high)]
        texts = [escape_csv(x) for x in (item.first, item.second, item.metric, item.verdict, item.sentence)]
        figures = [*values, item.interval.level, item.share_above, item.p_value, item.adjusted_p]
        writer.writerow([*texts[:3], *map(repr, figures), *texts[3:]])
    return text.getvalue()


def as_json(report: ComparisonReport) -> str:
    """Everything: metrics, differences with sentences, config keys and the F1 of each image."""
    one = report.comparison
    content = {
        "groups": [{"name": name, "runs": count} for name, count in zip(one.groups, one.seeds, strict=True)],
        "resamples": one.resamples,
        "metrics": {
            m: {g: asdict(x) for g, x in zip(one.groups, found, strict=True)} for m, found in one.metrics.items()
        },
        "differences": [{**asdict(x), "verdict": x.verdict, "sentence": x.sentence} for x in one.differences],
        "config": [
            {"first": first, "second": second, "keys": None if keys is None else [asdict(key) for key in keys]}
            for (first, second), keys in report.keys.items()
        ],
        "images": [
            {"id": image.image_id, "file": report.file_names.get(image.image_id), "objects": image.objects,
             "F1": dict(zip(one.groups, image.scores, strict=True))}
            for image in one.images
        ],
        "notes": report.notes(),
    }  # fmt: skip
    return json.dumps(content, indent=1, default=str) + "\n"


def _sections(
    report: ComparisonReport,
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], str],
    escape: Callable[[str], str],
    title: str,
    *,
    every: bool,
) -> str:
    """Title, table, sentences, config keys and images of each pair, then the notes."""
    parts = []
    for pair in report.pairs:
        first, second = pair
        parts.append(title.format(escape(f"{second} against {first}")))
        parts.append(table(_headings(pair), report.rows(pair, every=every)))
        sentences = [one.sentence for one in report.differences(pair, every=every)]
        parts.append("\n".join(f"- {escape(sentence)}" for sentence in sentences))
        keys = report.keys[pair]
        if keys is None:
            parts.append("A results file has no configuration: which keys differ is not known.")
        elif keys:
            parts.append("Config keys that differ:")
            parts.append(
                table(["key", first, second], [[key.key, _short(key.before), _short(key.now)] for key in keys])
            )
        else:
            parts.append("The configurations are the same, apart from output_dir and, over several runs, train.seed.")
        images = report.image_rows(pair)
        if images:
            parts.append("Images that differ the most, F1 at IoU 0.5:")
            parts.append(table(["id", "file", "objects", first, second, "difference"], images))
        elif report.shown_images:
            parts.append("No image differs in F1 at IoU 0.5.")
    return "\n\n".join([*parts, "\n".join(escape(note) for note in report.notes())])


def _headings(pair: tuple[str, str]) -> list[str]:
    return ["metric", *pair, "difference", "above 0", "p", f"{pair[1]} is"]


def _text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers=head, disable_numparse=True)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(escape_markdown, row)) for row in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(value: object, limit: int = 60) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
