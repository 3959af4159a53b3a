"""Tables and sections that are written by hand are complete: commands, annotation formats."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_command_has_a_section():
    from segkit.cli.dataset.main import MODULES as OF_DATASET
    from segkit.cli.main import MODULES

    text = (DOCS / "reference/commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^<!-- generated: help (\w+) -->$", text, flags=re.MULTILINE) == list(MODULES)
    assert re.findall(r"^\| `segkit (\w+)` \|", text, flags=re.MULTILINE) == list(MODULES)
    assert re.findall(r"^<!-- generated: help dataset ([\w-]+) -->$", text, flags=re.MULTILINE) == list(OF_DATASET)


def test_the_table_of_formats_is_that_of_the_registries():
    from segkit.registry import DATASET_FORMAT_REGISTRY, DATASET_WRITER_REGISTRY

    text = (DOCS / "howto/annotation_formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\| `\{format: (\w+),.*\| (yes|no) \|$", text, flags=re.MULTILINE)
    assert {name: written == "yes" for name, written in rows} == {
        name: name in DATASET_WRITER_REGISTRY
        for name in DATASET_FORMAT_REGISTRY.names()
        if name not in ("auto", "catalog", "subset", "synthetic", "tiles")
    }
    held = text.partition("| written | masks |")[2].partition("\n\n")[0]
    first = [line.split(" | ")[0] for line in held.splitlines()]
    assert sorted(re.findall(r"`(\w+)`", "".join(first))) == sorted(DATASET_WRITER_REGISTRY.names())
