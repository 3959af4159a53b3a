"""The report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segkit.study.plan import PlannedRun


def write_study_report(runs: Sequence[PlannedRun], output: Path) -> list[Path]:
    return []
