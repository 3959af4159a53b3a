"""Arguments that the subcommands of ``segkit dataset`` share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.cli.parser import Parser

# Names for the help, which imports no registry; tests/cli/test_help.py compares them with the registries.
READABLE = (
    "cityscapes", "coco", "coco_panoptic", "cvat", "geojson", "image_folder", "imagej_rois", "label_map", "label_pairs",
    "labelme", "lvis", "mask_folder", "subset", "voc", "yolo",
)  # fmt: skip
WRITABLE = ("coco", "geojson", "label_map", "label_pairs", "labelme", "mask_folder", "voc", "yolo")
WRITER_OPTIONS = "options of the format to write (segkit config components DATASET_WRITER)"


def add_source(parser: argparse.ArgumentParser, *, or_config: bool = True) -> None:
    """Adds the arguments that name a data set; ``or_config``: a configuration is one too."""
    more = "; or a configuration, for its data.train and data.val" if or_config else ""
    parser.add_argument("data", metavar="DATA", help=f"folder or file of a data set, of any format{more}")
    parser.add_argument(
        "--format", metavar="F", help=f"format of the data (default: recognised by content): {', '.join(READABLE)}"
    )


def add_writable(parser: argparse._ActionsContainer, text: str, **settings: object) -> None:
    """Adds ``--to``, the format to write."""
    parser.add_argument("--to", metavar="F", help=f"{text}: {', '.join(WRITABLE)}", **settings)  # type: ignore[arg-type]


def add_skip_unreadable(parser: argparse.ArgumentParser) -> None:
    """Adds the switch that skips and counts images that cannot be read."""
    text = "skip images that cannot be read, and say which (default: the first one is an error)"
    parser.add_argument("--skip-unreadable", action="store_true", help=text)


def take_assignments(words: Sequence[str], parser: Parser) -> dict[str, str]:
    """The values of words ``KEY=VALUE``, as text; exits with status 2 if a word is none."""
    for word in words:
        if not re.fullmatch(r"[A-Za-z_]\w*=.*", word, re.DOTALL):
            parser.error(f"unexpected argument '{word}'; options of the format are KEY=VALUE")
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def read_values(assignments: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``take_assignments``, read as YAML.

    Raises:
        SegkitError: a value is no YAML.
    """
    from segkit.config.yaml_reader import read_yaml

    return {key: read_yaml(text, f"{key}={text}", lines=False).plain() for key, text in assignments.items()}
