"""The site: its navigation lists every page, links and pictures lead somewhere, generated parts are complete."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from segkit.config.detectron2_names import DETECTRON2_NAMES
from segkit.config.foreign_names import MMDETECTION_NAMES, TORCHVISION_NAMES
from segkit.config.renamed_keys import RENAMED_KEYS
from segkit.config.schema import Config
from segkit.config.specs import section_fields
from segkit.registry import ALL_REGISTRIES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def generators():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import generators

        yield generators
    for name in [name for name in sys.modules if name.split(".")[0] == "generators"]:
        del sys.modules[name]


def site():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def listed(nav):
    """The pages of a navigation, in its order."""
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [value] if isinstance(value, str) else listed(value)


def test_navigation_lists_every_page_once():
    pages = list(listed(site()["nav"]))
    assert len(pages) == len(set(pages))
    assert sorted(pages) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def test_nothing_is_loaded_from_elsewhere():
    """The site needs no network, neither to be built nor to be read."""
    config = site()
    assert config["theme"]["font"] is False
    assert not [path for key in ("extra_css", "extra_javascript") for path in config.get(key, ()) if "://" in path]


def slug(heading: str) -> str:
    """The anchor of a heading, as the toc extension makes it."""
    if found := re.search(r"\{#([\w-]+)\}\s*$", heading):
        return found[1]
    text = re.sub(r"[^\w\s-]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)).strip().lower()
    return re.sub(r"[-\s]+", "-", text)


def anchors(text: str) -> set[str]:
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)}
    return headings | set(re.findall(r"^::: ([\w.]+)$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES], ids=lambda page: page.name)
def test_links(page, generators):
    text = generators.fill_in(page.read_text(encoding="utf-8"), page.name)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{page.name}: {target}"
        if page.parent == ROOT / "docs" or DOCS in page.parents:
            assert DOCS in found.parents, f"{page.name}: {target} leads out of the site"
        if anchor:
            assert anchor in anchors(generators.fill_in(found.read_text(encoding="utf-8"), name)), (
                f"{page.name}: {target}"
            )


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES], ids=lambda page: page.name)
def test_words(page):
    """Pages use the field's words, as the package does (tests/test_words.py); code may show former names."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    former = (
        r"\b(suppression|told|tells? of|anew|nobody|to come|(?:leave|leaves|left|leaving) out|averaged weights|gives)\b"
    )
    assert re.findall(former, text, flags=re.IGNORECASE) == []


def test_pictures_are_small_and_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < 150_000, picture.name
        assert f"images/{picture.name})" in text, f"no page shows {picture.name}"


def test_a_marker_without_a_generator_is_an_error(generators):
    with pytest.raises(ValueError, match="keyz"):
        generators.fill_in("<!-- generated: keyz -->", "page.md")


def test_every_generator_is_used(generators):
    found = {name for page in PAGES for name in re.findall(r"<!-- generated: (\w+)", page.read_text(encoding="utf-8"))}
    assert found == set(generators.GENERATORS)


def test_config_reference_has_every_key(generators):
    text = generators.GENERATORS["config_keys"]()
    for section, (_, annotation) in section_fields(Config).items():
        assert f"| `{section}` |" in text
        inner = getattr(annotation, "__args__", (None,))[0]
        if section in ("data", "solver", "train", "predict"):
            assert all(f"| `{section}.{key}` |" in text for key in section_fields(inner))


def test_component_reference_has_every_component(generators):
    pages = {page: generators.GENERATORS["components"](page) for page in ("model", "data", "training")}
    own = Counter(
        name
        for registry in ALL_REGISTRIES
        for name in registry.names()
        if registry.get(name).__module__.startswith("segkit")
    )
    for name, count in own.items():  # two registries may use one name, as coco
        assert sum(text.count(f"### {name}\n") for text in pages.values()) == count, name
    assert "`[p2, p3, p4, p5]`" in pages["model"] and "the maps to pool from" in pages["model"]


def test_arguments_of_components_are_described(generators):
    """An argument without a meaning in the reference has no line in its component's docstring."""
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| *(.*?) \|$", generators.GENERATORS["components"]("model"), flags=re.MULTILINE
    )
    assert [name for name, meaning in rows if not meaning] == []


def test_examples_page_has_every_example(generators):
    text = generators.GENERATORS["examples"]()
    for path in (ROOT / "examples").rglob("*.*"):
        if path.suffix in (".py", ".yaml") and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in text
    examples = importlib.import_module("generators.examples")
    assert {path.stem for path in examples.example_files() if path.suffix == ".py"} == set(examples.TITLES)
    assert re.findall("^## (.*)$", text, flags=re.MULTILINE) == list(examples.TITLES.values())


def test_api_reference_has_every_public_name(generators):
    for package in importlib.import_module("generators.api").PACKAGES:
        text = generators.GENERATORS["api"](package)
        for name in importlib.import_module(package).__all__:
            assert name.startswith("__") or f"{package}.{name}" in text or f"`{name}`" in text, f"{package}.{name}"


def test_functions_named_like_their_module(generators):
    """The reference has the function: mkdocstrings shows the module for ``segkit.solver.parameter_groups``."""
    assert "::: segkit.solver.parameter_groups.parameter_groups" in generators.GENERATORS["api"]("segkit.solver")
    assert "::: segkit.structures.mask_targets.mask_targets" in generators.GENERATORS["api"]("segkit.structures")


def test_docstrings_are_prepared_for_griffe():
    pytest.importorskip("griffe")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import docstring_sections

        text = "Does.\n\nArgs:\n    a, b: both\n        of them.\n    c: one.\nReturns:\n    a, b: as they were.\nAs::\n\n    x"
        assert docstring_sections.readable_by_griffe(text) == (
            "Does.\n\nArgs:\n    a: both\n        of them.\n    b: both\n        of them.\n    c: one.\n\n"
            "Returns:\n    a, b: as they were.\nAs:\n\n    x"
        )
    del sys.modules["docstring_sections"]


def test_changelog_has_every_renamed_key():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \| (.*) \|$", text, flags=re.MULTILINE)
    for old, new in RENAMED_KEYS.items():
        assert any(f"`{old}`" in before and f"`{new}`" in after for before, after in rows), old
    names = [name for _, after in rows for name in re.findall(r"`(segkit\.[\w.]+)", after)]
    assert len(names) > 5 and [name for name in names if not leads_somewhere(name)] == []


def leads_somewhere(name: str) -> bool:
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            if not hasattr(owner, part):
                return (
                    inspect.isclass(owner)
                    and re.search(rf"(self\.|    ){part}\b", inspect.getsource(owner)) is not None
                )
            owner = getattr(owner, part)
        return True
    return False


@pytest.mark.parametrize(
    ("library", "names"),
    [("Detectron2", DETECTRON2_NAMES), ("MMDetection", MMDETECTION_NAMES), ("torchvision", TORCHVISION_NAMES)],
)
def test_migration_tables_are_those_of_the_suggestions(generators, library, names):
    lines = generators.GENERATORS["migration"](library).splitlines()
    assert len(lines) == len(names) + 2
    for line, (old, new) in zip(lines[2:], names.items(), strict=True):
        key = "" if new.startswith(";") else f"`{new}`"
        assert line.startswith(f"| `{old}` | {key} | ")


@pytest.fixture(scope="module")
def tree():
    """The files and folders of the repository."""
    found = set()
    for top in ("segkit", "tests", "tools", "configs", "docs", "examples", ".ci"):
        files = [path for path in (ROOT / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        found |= {
            part.relative_to(ROOT).as_posix() for path in files for part in (path, *path.parents[:-1]) if part > ROOT
        }
    return found | {path.name for path in ROOT.iterdir() if path.is_file()}


def lost_files(text: str, tree: set[str]) -> list[str]:
    """Names in a page that should be files of the repository and are none.

    These are Python files, and paths that begin with a folder of the repository. A bare name after the path of another
    file, in the same line, is one of that file's folder; in the table of the engine it is one of the engine's.
    """
    lost = []
    table = text.partition("## The engine, file by file")[2].partition("\n## ")[0]
    blocks = re.findall(r'^ *```\w+ title="(.*?)"$', text, flags=re.MULTILINE)
    for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines():
        folder = "segkit/engine" if line.strip() and line in table else ""
        for name in re.findall(r"`([\w./-]+)`", line):
            if re.match(r"(segkit|tests|tools|configs|examples|docs|\.ci)/", name):
                if name.rstrip("/") not in tree:
                    lost.append(name)
                elif name.endswith(".py"):
                    folder = name.rpartition("/")[0]
            elif name.endswith(".py") and name not in blocks:
                known = f"{folder}/{name}" in tree if folder else any(path.endswith(f"/{name}") for path in tree)
                lost += [] if known else [name]
    return lost


OTHERS = {  # files of other libraries
    "migration.md": ["configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", "references/detection/train.py"]
}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_files_that_pages_name_exist(page, tree):
    assert lost_files(page.read_text(encoding="utf-8"), tree) == OTHERS.get(page.name, [])


def test_a_lost_file_is_found(tree):
    assert lost_files("`segkit/engine/setup.py`, `segkit/engine/run.py`, `coco.py` and `tests/faultz/`", tree) == [
        "segkit/engine/setup.py",
        "coco.py",
        "tests/faultz/",
    ]


def test_the_table_of_the_engine_has_every_file():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## The engine, file by file")[2].partition("\n## ")[0]
    files = [path.relative_to(ROOT / "segkit/engine").as_posix() for path in (ROOT / "segkit/engine").rglob("*.py")]
    named = [name for line in table.splitlines() for name in re.findall(r"`([\w/]+\.py)`", line.split(" | ")[0])]
    assert sorted(set(named)) == sorted(name for name in files if not name.endswith("__init__.py"))


def test_the_layers_are_those_that_a_test_enforces():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"^    .*$", text.split("## Layers")[1].split("\n## ")[0], flags=re.MULTILINE))
    layers = [tuple(re.findall(r"\w+", part)) for part in drawn.split("<-")]
    source = ast.parse((ROOT / "tests/test_layers.py").read_text(encoding="utf-8"))
    values = {node.targets[0].id: node.value for node in source.body if isinstance(node, ast.Assign)}
    enforced = ast.literal_eval(values["LAYERS"])
    assert [sorted(names) for names in layers] == [sorted(names) for names in enforced]
