"""The example scripts of the repository: each docstring as text, the code below it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# From what most people need to what few do; other examples follow in the order of their names.
TITLES = {
    "own_dataset": "Your own data set",
    "timm_backbone": "A backbone of timm's",
    "own_loop": "Your own training loop",
    "own_hook": "Your own hook",
    "mask_head": "Another mask head",
    "other_framework": "Another framework's predictions",
    "my_components": "Several components and a config file",
}


def example_files() -> list[Path]:
    """``examples/*.py`` in the order of the titles, then the files of ``examples/extending``."""
    folder = ROOT / "examples"
    return [
        *sorted(folder.glob("*.py"), key=_rank),
        *sorted(folder.glob("extending/*.py")),
        *sorted(folder.glob("extending/*.yaml")),
    ]


def _rank(path: Path) -> tuple[int, str]:
    order = list(TITLES)
    return order.index(path.stem) if path.stem in TITLES else len(order), path.stem


def examples() -> str:
    """A heading, the docstring and the code of each example."""
    return "\n\n".join(_example(path) for path in example_files())


def _example(path: Path) -> str:
    name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return f"### `{name}`\n\n```yaml\n{text.strip()}\n```"
    doc, code = _split(text)
    title = TITLES.get(path.stem, path.stem.replace("_", " ").capitalize())
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
