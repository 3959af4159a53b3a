"""The errors of the runs: kinds, what they cost, and what to change."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from segkit.diagnosis.findings import Finding
from segkit.report.analysis import RunAnalysis
from segkit.report.sections.base import Section, fill
from segkit.report.svg import Bar, bar_chart
from segkit.utils.errors import counted

LEAST_SHOWN = 0.0005  # lost AP of a finding in the head of the page


@dataclass(frozen=True)
class FindingCard:
    """A finding, as the page says it.

    Attributes:
        title: one line.
        lost: what it costs, in points of AP.
        cost: the rest of that line.
        cases: number of objects or detections, with the word.
        percent: width of its bar.
        evidence, advice: sentences; empty without.
        command: to copy; empty without overrides or a configuration.
        gallery: id of its examples on the page; empty without.
    """

    title: str
    lost: str
    cost: str
    cases: str
    percent: int
    evidence: str
    advice: str
    command: str
    gallery: str


def section(runs: Sequence[RunAnalysis], examples: Collection[str]) -> Section:
    """Bars of both families of errors, and a card for each kind with advice.

    Args:
        runs: the runs.
        examples: ids of groups of the gallery, to which cards link.
    """
    diagnosed = [run for run in runs if run.diagnosis is not None]
    charts = []
    if diagnosed:
        charts = [
            _bars("TIDE: AP50 that each kind costs", [(run, run.diagnosis.tide) for run in diagnosed if run.diagnosis]),
            _bars(
                "Cells and settings: AP that each kind costs",
                [(run, run.diagnosis.cells) for run in diagnosed if run.diagnosis],
            ),
        ]
    body = fill(
        "errors.html",
        several=len(runs) > 1,
        charts=charts,
        cards=[(run, *_parted(cards_of(run, examples))) for run in diagnosed],
        missing=[(run, run.absent.get("diagnosis", "")) for run in runs if run.diagnosis is None],
    )
    lead = (
        "How much higher AP would be without the errors of a kind; TIDE counts it at IoU 0.5. The families overlap, and the "
        "costs do not add up: a detection that is corrected changes the rank of others."
    )
    return Section("errors", "Errors", "Why it fails", body, lead if diagnosed else "")


def cards_of(run: RunAnalysis, examples: Collection[str]) -> list[FindingCard]:
    """A card for each finding that occurs, the most costly first."""
    assert run.diagnosis is not None
    found = sorted((*run.diagnosis.tide, *run.diagnosis.cells), key=lambda finding: -finding.lost_ap)
    return [card(run, finding, examples) for finding in found if finding.count]


def _parted(cards: Sequence[FindingCard]) -> tuple[list[FindingCard], list[FindingCard]]:
    """The cards with evidence or advice, and the others."""
    return [one for one in cards if one.advice or one.evidence], [
        one for one in cards if not one.advice and not one.evidence
    ]


def costly_findings(run: RunAnalysis, examples: Collection[str]) -> list[FindingCard]:
    """The cards of the errors that cost most; those with advice come first."""
    if run.diagnosis is None:
        return []
    found = [
        finding
        for finding in (*run.diagnosis.tide, *run.diagnosis.cells)
        if finding.count and finding.lost_ap >= LEAST_SHOWN
    ]
    found.sort(key=lambda finding: (not finding.advice, -finding.lost_ap))
    return [card(run, finding, examples) for finding in found]


def card(run: RunAnalysis, finding: Finding, examples: Collection[str]) -> FindingCard:
    """What the page says about a finding."""
    metric = "AP50" if is_tide(run, finding) else "AP"
    group = gallery_id(run, finding)
    return FindingCard(
        title=finding.title,
        lost=f"{100 * finding.lost_ap:.1f} points of {metric}",
        cost=f"{100 * finding.share:.0f} % of what its family costs, {counted(finding.count, 'case')}",
        cases=counted(finding.count, "case"),
        percent=round(100 * min(max(finding.share, 0.0), 1.0)),
        evidence=finding.evidence,
        advice=finding.advice,
        command=command(run, finding),
        gallery=group if group in examples else "",
    )


def command(run: RunAnalysis, finding: Finding) -> str:
    """The command that trains with the finding's overrides.

    It is empty without overrides or a configuration.
    """
    if not finding.overrides or run.run.config is None:
        return ""
    folder = run.run.path
    words = ["segkit", "train", str(folder / "config.yaml"), *finding.overrides]
    words.append(f"output_dir={folder.with_name(f'{folder.name}_{finding.kind}')}")
    return " \\\n  ".join([shlex.join(words[:3]), *map(shlex.quote, words[3:])])


def gallery_id(run: RunAnalysis, finding: Finding) -> str:
    """The id of the examples of a finding; both families may have a kind of one name."""
    kind = "".join(c if c.isalnum() else "-" for c in finding.kind)
    return f"examples-{run.color}-{'tide' if is_tide(run, finding) else 'cells'}-{kind}"


def is_tide(run: RunAnalysis, finding: Finding) -> bool:
    """Whether a finding is one of TIDE's kinds, whose cost is counted at IoU 0.5."""
    return run.diagnosis is not None and any(finding is one for one in run.diagnosis.tide)


def _bars(title: str, families: Sequence[tuple[RunAnalysis, Sequence[Finding]]]) -> object:
    titles: dict[str, str] = {}
    for _, findings in families:
        for finding in findings:
            titles.setdefault(finding.kind, finding.kind.replace("_", " "))
    rows = []
    for kind, name in titles.items():
        bars = []
        for run, findings in families:
            found = next((finding for finding in findings if finding.kind == kind), None)
            text = "-" if found is None else f"{100 * found.lost_ap:.1f} ({found.count:,})"
            color = run.color if len(families) > 1 else 4
            bars.append(Bar(None if found is None else found.lost_ap, text, color, run.css))
        rows.append((name, bars))
    return bar_chart(title, rows, description="Points of AP, and the number of cases in brackets.", empty="no errors")
