"""What the tests of studies share."""

from pathlib import Path


def starts(folder: Path) -> list[int]:
    """The iterations at which a fake run's processes started."""
    return [int(line) for line in (folder / "starts.txt").read_text().split()]
