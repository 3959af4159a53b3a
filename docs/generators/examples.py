"""The example scripts of the repository: each docstring as text, the code below it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def example_files() -> list[Path]:
    """``examples/*.py``, then the files of ``examples/extending``."""
    folder = ROOT / "examples"
    return [
        *sorted(folder.glob("*.py")),
        *sorted(folder.glob("extending/*.py")),
        *sorted(folder.glob("extending/*.yaml")),
    ]


def examples() -> str:
    """A heading, the docstring and the code of each example."""
    return "\n\n".join(_example(path) for path in example_files())


def _example(path: Path) -> str:
    name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return f"### `{name}`\n\n```yaml\n{text.strip()}\n```"
    doc, code = _split(text)
    title = path.stem.replace("_", " ").capitalize()
    return f'## {title}\n\n{doc}\n\n```python title="{name}"\n{code.strip()}\n```'


def _split(text: str) -> tuple[str, str]:
    """The docstring of a module as Markdown, and the code after it."""
    module = ast.parse(text)
    doc = ast.get_docstring(module)
    if doc is None:
        return "", text
    end = module.body[0].end_lineno or 0
    lines = [f"    {line}" if line.startswith(("python ", "segkit ")) else line for line in doc.splitlines()]
    return "\n".join(lines).replace("``", "`"), "\n".join(text.splitlines()[end:])
