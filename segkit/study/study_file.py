"""The study file: its keys, how it is read, and what its messages say."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from segkit.config.help import Help
from segkit.config.nodes import Node, join, where
from segkit.config.spec import Spec
from segkit.config.specs import Resolver, section_fields
from segkit.config.typecheck import Bounds, show
from segkit.config.yaml_reader import read_yaml
from segkit.registry import Slot
from segkit.study.executors.base import EXECUTORS
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.paths import local_path

NAME = re.compile(r"[A-Za-z0-9][\w.+=-]*")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """``budget``: the length of each training; one of the three."""

    iterations: Annotated[int | None, Bounds(1), Help("optimizer steps")] = None
    epochs: Annotated[int | None, Bounds(1), Help("passes over the data")] = None
    minutes: Annotated[float | None, Bounds(0, open_low=True), Help("time of training; the schedule is cut there")] = (
        None
    )

    def __post_init__(self) -> None:
        if [self.iterations, self.epochs, self.minutes].count(None) != 2:
            raise SegkitError("budget: set one of iterations, epochs and minutes", key="budget")


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """An entry of ``runs``: one variant, trained once a seed, or evaluated from another's model."""

    base: Annotated[str | None, Help("configuration file; null: the study's")] = None
    overrides: Annotated[Mapping[str, Any], Help("values by key path, as in train.iterations: 500")] = field(
        default_factory=dict
    )
    from_: Annotated[str | None, Help("the run whose final model is evaluated in place of a training")] = None


@dataclass(frozen=True, kw_only=True)
class RowEntry:
    """A row of a table."""

    run: Annotated[str, Help("name of the run")]
    label: Annotated[str | None, Help("what the table calls it; null: its name")] = None
    published: Annotated[float | None, Help("the figure that others have published for it")] = None


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """An entry of ``tables``: runs that are compared with a baseline."""

    title: Annotated[str | None, Help("heading; null: its name")] = None
    metric: Annotated[str | None, Help("what is compared; null: the study's metric")] = None
    baseline: Annotated[str | None, Help("the run that the others are compared with; null: the first")] = None
    rows: tuple[RowEntry, ...] = field(default=(), metadata={"key": False})  # checked one by one


@dataclass(frozen=True, kw_only=True)
class Search:
    """``search``: trials that Optuna chooses."""

    trials: Annotated[int, Bounds(1), Help("number of trials, pruned ones included")] = 20
    space: Annotated[
        Mapping[str, Any], Help("by key path: a list of choices, or {low, high, log, step}, int if both ends are")
    ]
    rungs: Annotated[tuple[int, ...], Help("iterations after which a trial is evaluated and may be pruned")] = ()
    sampler: Annotated[str, Help("tpe or random")] = "tpe"
    pruner: Annotated[str, Help("median, halving or none")] = "median"
    seed: Annotated[int, Bounds(0), Help("of the sampler")] = 0


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """A study file, checked."""

    output: Annotated[str, Help("folder of the study")]
    base: Annotated[str | None, Help("configuration file of all runs that name none; relative to this file")] = None
    overrides: Annotated[Mapping[str, Any], Help("values of all runs, by key path")] = field(default_factory=dict)
    grid: Annotated[Mapping[str, tuple[Any, ...]], Help("key paths and their values; each combination is a run")] = (
        field(default_factory=dict)
    )
    seeds: Annotated[tuple[Annotated[int, Bounds(0)], ...], Help("train.seed of each repetition")] = (42,)
    budget: Annotated[Budget | None, Help("length of each training; null: the configuration's")] = None
    metric: Annotated[str, Help("what the tables compare; of the last evaluation")] = "segm/AP"
    executor: Annotated[Spec, Slot(EXECUTORS), Help("where the runs are started")] = field(
        default_factory=lambda: Spec(name="local")
    )
    search: Annotated[Search | None, Help("trials that Optuna chooses")] = None


@dataclass(frozen=True)
class StudyDescription:
    """All of a study file.

    Attributes:
        label: the file's path, for messages.
        folder: its folder, to which the paths of bases are relative.
        settings: the plain keys.
        runs: variants by name.
        tables: by name.
        tree: values with their lines.
    """

    label: str
    folder: str
    settings: StudyFile
    runs: Mapping[str, RunEntry]
    tables: Mapping[str, TableEntry]
    tree: Node

    def nodes(self, *path: str) -> Mapping[str, Node]:
        """The entries of the mapping at a path, with their lines; empty where it is absent."""
        node: Node | None = self.tree
        for key in path:
            node = node.value.get(key) if node is not None and isinstance(node.value, dict) else None
        return node.value if node is not None and isinstance(node.value, dict) else {}

    def base_path(self, base: str) -> str:
        """The path of a base: relative to the file, absolute, ``segkit://`` or a URL."""
        if "://" in base or os.path.isabs(os.path.expanduser(base)):
            return base
        return os.path.join(self.folder, base)


def read_study(path: str | os.PathLike[str]) -> StudyDescription:
    """Reads a study file and checks it; the configurations of its runs are not read yet.

    Raises:
        SegkitError: no such file, no YAML, an unknown key, a value of another type, a name that no folder can have, or a row,
            baseline or ``from`` that names no run.
    """
    label = os.fspath(path)
    file = local_path(label, "study", kind="file")
    try:
        tree = read_yaml(file.read_text(encoding="utf-8"), label)
    except UnicodeDecodeError as error:
        raise SegkitError(f"the study '{label}' is not a text file: {error}", value=label) from error
    if not isinstance(tree.value, dict):
        raise SegkitError(f"{tree.origin}: expected the keys of a study, given {show(tree.plain())}", value=label)
    names = [*section_fields(StudyFile), "runs", "tables"]
    for key, child in tree.items():
        if key not in names:
            raise SegkitError(
                f"{where(str(key), child.origin)}: there is no such key{did_you_mean(str(key), names)}",
                key=str(key),
                choices=names,
            )
    known = {**tree.value}
    runs = _entries(known.pop("runs", None), RunEntry, "runs")
    tables = _entries(known.pop("tables", None), TableEntry, "tables")
    rest = Node(known, tree.origin)
    settings = Resolver(StudyFile, rest).section(StudyFile, rest)
    description = StudyDescription(label, str(file.parent), settings, runs, tables, tree)
    _check_references(description)
    return description


def _entries(node: Node | None, section: type[Any], path: str) -> dict[str, Any]:
    """The named entries of ``runs`` or ``tables``."""
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        raise SegkitError(
            f"{where(path, node.origin)}: expected entries by name, as {{NAME: {{...}}}}, given {show(node.plain())}",
            key=path,
        )
    found = {}
    for name, child in node.items():
        here = join(path, name)
        check_name(str(name), where(here, child.origin))
        child = Node({} if child.value is None else child.value, child.origin)
        found[str(name)] = _table(child, here) if section is TableEntry else _run(child, here)
    return found


def _run(node: Node, path: str) -> RunEntry:
    if isinstance(node.value, dict):  # `from` is a word of Python
        node = Node({"from_" if key == "from" else key: child for key, child in node.value.items()}, node.origin)
    return Resolver(RunEntry, Node({}, "")).section(RunEntry, node, path)


def _table(node: Node, path: str) -> TableEntry:
    rows = node.value.get("rows") if isinstance(node.value, dict) else None
    if rows is None or not isinstance(rows.value, list) or not rows.value:
        raise SegkitError(f"{where(path, node.origin)}: expected rows, as rows: [{{run: NAME, label: TEXT}}]", key=path)
    entries = []
    for i, row in enumerate(rows.value):
        row = Node({"run": row}, row.origin) if isinstance(row.value, str) else row
        entries.append(Resolver(RowEntry, Node({}, "")).section(RowEntry, row, f"{path}.rows[{i}]"))
    without = Node({key: child for key, child in node.value.items() if key != "rows"}, node.origin)
    table = Resolver(TableEntry, Node({}, "")).section(TableEntry, without, path)
    return dataclasses.replace(table, rows=tuple(entries))


def check_name(name: str, origin: str) -> None:
    """Raises SegkitError unless a folder of any system can have the name."""
    if not NAME.fullmatch(name) or len(name) > 120 or name.endswith("."):
        raise SegkitError(
            f"{origin}: '{name}' names a folder: expected letters, digits and any of . _ + = -, a letter or digit first",
            value=name,
        )


def _check_references(study: StudyDescription) -> None:
    for name, run in study.runs.items():
        if run.from_ is None:
            continue
        origin = study.nodes("runs", name)["from"].origin
        path = f"runs.{name}.from"
        if run.from_ == name:
            raise SegkitError(f"{where(path, origin)}: a run cannot start from itself", key=path, value=name)
        if run.from_ in study.runs and study.runs[run.from_].from_ is not None:
            raise SegkitError(
                f"{where(path, origin)}: '{run.from_}' is evaluated from another run's model itself; name "
                f"'{study.runs[run.from_].from_}'",
                key=path,
                value=run.from_,
            )
        if run.base is not None:
            raise SegkitError(f"{where(path, origin)}: a run with 'from' has that run's base; remove 'base'", key=path)


def check_row_names(study: StudyDescription, names: list[str]) -> None:
    """Raises SegkitError if a row, baseline or ``from`` names none of the study's runs.

    Args:
        study: the study.
        names: of all its runs, those of the grid included.
    """
    for name, run in study.runs.items():
        if run.from_ is not None and run.from_ not in names:
            _no_run(run.from_, f"runs.{name}.from", study.nodes("runs", name)["from"].origin, names)
    for title, table in study.tables.items():
        rows = study.nodes("tables", title)["rows"]
        for i, row in enumerate(table.rows):
            if row.run not in names:
                _no_run(row.run, f"tables.{title}.rows[{i}].run", rows.value[i].origin, names)
        shown = [row.run for row in table.rows]
        if table.baseline is not None and table.baseline not in shown:
            _no_run(table.baseline, f"tables.{title}.baseline", study.nodes("tables", title)["baseline"].origin, shown)
        if len(set(shown)) != len(shown):
            twice = next(run for run in shown if shown.count(run) > 1)
            raise SegkitError(f"{where(f'tables.{title}.rows', rows.origin)}: '{twice}' is there twice", value=twice)


def _no_run(name: str, path: str, origin: str, names: list[str]) -> None:
    raise SegkitError(
        f"{where(path, origin)}: there is no run '{name}'{did_you_mean(name, names)}",
        key=path,
        value=name,
        choices=names,
    )
