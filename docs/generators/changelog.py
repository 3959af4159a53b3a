"""The changelog of the repository as a page."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def changelog() -> str:
    """``CHANGELOG.md`` without its title, with its links to the pages."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.split("\n", 1)[1].replace("](docs/", "](")
