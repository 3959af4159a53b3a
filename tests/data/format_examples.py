"""Small folders of every format: which has to win there, with which splits."""

from __future__ import annotations

from pathlib import Path

import mask_examples
import outline_examples
from example_parts import EXAMPLES

__all__ = ["EXAMPLES", "filled", "mask_examples", "outline_examples"]


def filled(tmp_path: Path, title: str) -> Path:
    """A folder with an example, in a folder of its own."""
    root = tmp_path / "data"
    root.mkdir()
    EXAMPLES[title].fill(root)
    return root
