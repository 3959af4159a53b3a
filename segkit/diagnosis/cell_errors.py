"""Kinds of errors of cells and of settings."""

from __future__ import annotations

from segkit.diagnosis.findings import Finding
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.settings import ModelSettings


def cell_errors(table: Ranking, settings: ModelSettings, *, score_threshold: float) -> tuple[Finding, ...]:
    """Returns the kinds of errors of cells and of settings, the most costly first."""
    return ()
