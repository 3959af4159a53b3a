"""The package speaks the field's language: the words of our former dialect do not come back.

The terms on the right are those of Detectron2, torchvision and pycocotools, which readers look for.
"""

from __future__ import annotations

import ast
import importlib
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted(
    file
    for top in ("segkit", "tools", "examples")
    for file in (ROOT / top).rglob("*.py")
    if "configs" not in file.parts
)
FILES = [*PACKAGE, *sorted((ROOT / "tests").rglob("*.py"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
# Names that are defined: functions, classes, arguments, variables, attributes, modules. A pattern is matched against each
# whole name and against its parts between underscores.
NAMES = {
    "extents?": "crop_boxes",
    "canvas": "image_size",
    "solid": "not_crowd",
    "wanted": "target_..., expected",
    "told|tells?": "warn, log",
    "gives?": "provides, returns",
    "averaged": "ema",
    "sound": "consistent",
    "suppress(ed|ion)?": "nms",
    "places|pieces|numbers": "what they are: indices, crops, counts",
}
WHOLE_NAMES = {
    "foreground_ious?": "fg_iou_threshold",
    "background_iou": "bg_iou_threshold",
    "add_objects": "append_gt_boxes",
    "answers_for_some": "supports_sparse_forward",
    "put_back": "restore",
    "leave_out|leaves_out|left_out": "skip",
    "tell_of_end": "notify_exception",
    "no_garbage_search": "gc_paused",
    "run_(data|state|folder)": "datasets, train_state, run_dir",
    "limits|changes|buffers": "detection_limits, config_diff, buffer_backup (as names of modules)",
}
MODULES_ONLY = "limits|changes|buffers"
# Comments, docstrings and messages.
PHRASES = {
    r"(?<!non-maximum )suppression": "NMS",
    r"\b(is|are|was) told\b|\btells? of\b|\btold\b": "log, warn, report",
    r"\banew\b": "again",
    r"(?<!~)\b(nobody|somebody|whoever)\b": "no process, a user, ...",  # "~nobody" is a path of a test
    r"\bwhatever\b": "any, all",
    r"\bone's own\b": "your own, the user's",
    r"\b(that|those) which\b": "name the thing",
    r"\bwhere there (is|are) (one|none|some)\b": "if there is ..., else",
    r"\b(that|which) (is|are) none\b": "unknown",
    r"\bis none of\b": "is not one of",
    r"\bits own of\b": "its own",
    r"\bso many\b": "this many, N",
    r"\bmade already\b": "finished, existing",
    r"\bas if it had not\b": "say what stays unchanged",
    r"^\W*(SegkitError|ValueError|TypeError) (where|unless|if)\b": "Raises SegkitError if ...",
    r"\bto come\b": "next",
    r"\b(leave|leaves|left|leaving) out\b": "skip, ignore",
    r"\bas if it had not been\b": "say what stays unchanged",
    r"\baveraged weights\b": "EMA weights",
    r"\bgives\b": "returns, provides, yields",
}
EXEMPT = {
    "segkit/utils/renamed_arguments.py",  # the table of the old spellings
    "tests/test_words.py",
    "tests/docs/test_site.py",  # the same check of the pages
}
COUNTED = "places|pieces|numbers"  # plain words in the sentence that a test's name is
FIRST_LINE = 90


def defined_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield (node.id if isinstance(node, ast.Name) else node.attr), node.lineno


def texts(file: Path) -> Iterator[tuple[str, int]]:
    with open(file, "rb") as stream:
        for token in tokenize.tokenize(stream.readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
                yield token.string, token.start[0]


def parts(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def problems(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for name, line in [*defined_names(tree), (file.stem, 1)]:
        for pattern, better in NAMES.items():
            if (pattern != COUNTED or not name.startswith("test_")) and any(
                re.fullmatch(pattern, part) for part in parts(name)
            ):
                yield f"{file.relative_to(ROOT)}:{line}: {name} -> {better}"
        for pattern, better in WHOLE_NAMES.items():
            if re.fullmatch(pattern, name.strip("_")) and (pattern != MODULES_ONLY or name == file.stem):
                yield f"{file.relative_to(ROOT)}:{line}: {name} -> {better}"
    for text, line in texts(file):
        for number, row in enumerate(text.splitlines()):
            yield from phrases(row, f"{file.relative_to(ROOT)}:{line + number}")


def phrases(row: str, at: str) -> Iterator[str]:
    for pattern, better in PHRASES.items():
        if found := re.search(pattern, row, re.IGNORECASE):
            yield f"{at}: '{found[0]}' -> {better}"


def docstrings(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """Yields name and docstring of a module, and of its public classes, functions and methods."""
    yield "module", ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node)
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", ast.get_docstring(method)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_word_of_the_former_dialect(file):
    if str(file.relative_to(ROOT)) not in EXEMPT:
        assert not list(problems(file))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_phrase_of_the_former_dialect_in_comments_of_configs(file):
    rows = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    assert not [found for i, row in rows for found in phrases(row.partition("#")[2], f"{file.name}:{i}")]


@pytest.mark.parametrize("file", PACKAGE, ids=lambda file: str(file.relative_to(ROOT)))
def test_first_lines_of_docstrings(file):
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    found = dict(docstrings(tree))
    assert found["module"], f"{file.relative_to(ROOT)} has no docstring"
    first = {name: text.splitlines()[0] for name, text in found.items() if text}
    assert {name: line for name, line in first.items() if len(line) > FIRST_LINE} == {}


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


@pytest.mark.parametrize("file", PACKAGE, ids=lambda file: str(file.relative_to(ROOT)))
def test_cross_references_resolve(file):
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source, str(file))
    known = {name for name, _ in defined_names(tree)} | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    roles = set(re.findall(r":(?:func|mod|class|meth|data|attr|exc):`~?([\w.]+)`(?!``)", source))
    assert [name for name in sorted(roles) if name.split(".")[0] not in known and not resolves(name)] == []


def test_the_check_finds_names_and_phrases(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "limits.py"
    file.write_text('def f(box_extents, self):\n    """What the\n    head gives."""\n    self.canvas = 1  # left out\n')
    found = list(problems(file))
    assert [line.split(":")[1] for line in found] == ["1", "4", "1", "3", "4"] or len(found) == 5
    assert any("box_extents" in line for line in found) and any("'gives'" in line for line in found)
