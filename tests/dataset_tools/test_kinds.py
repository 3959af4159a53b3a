"""The table of kinds in the documentation is that of the code, and each kind says what to do."""

from __future__ import annotations

from pathlib import Path

from segkit.dataset_tools.check import KINDS
from segkit.dataset_tools.check.kinds import SEVERITIES

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/check_data.md"


def test_the_table_of_the_page():
    rows = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `") and "`--" not in line
    ]
    expected = [
        f"| `{name}` | {kind.severity} | {kind.title} | {kind.advice} | {kind.mended or '-'} |"
        for name, kind in KINDS.items()
    ]
    assert rows == expected


def test_each_kind_says_what_to_do():
    for name, kind in KINDS.items():
        assert kind.severity in SEVERITIES and kind.title and kind.advice, name
