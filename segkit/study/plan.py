"""From a study file to its runs.

One for each variant and seed, each with a checked configuration.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.loader import load_config
from segkit.config.nodes import Node, join, where
from segkit.config.overrides import parse_overrides
from segkit.config.schema import Config
from segkit.config.typecheck import show
from segkit.study.study_file import Budget, StudyDescription, check_name, check_row_names
from segkit.utils.errors import SegkitError
from segkit.utils.paths import output_folder

# Keys that the study sets itself.
RESERVED = {"train.seed": "seeds", "output_dir": "output"}


@dataclass(frozen=True)
class Variant:
    """What is trained once a seed, or evaluated once a seed.

    Attributes:
        name: of its folder.
        base: configuration file.
        values: by key path, with their lines; those of the study first.
        parent: the variant whose models are evaluated; None: this one is trained.
        own: what distinguishes it, for the list of runs.
    """

    name: str
    base: str
    values: Sequence[tuple[str, Node]]
    parent: str | None
    own: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedRun:
    """One run of the study.

    Attributes:
        variant: what it is a repetition of.
        seed: of the training.
        folder: of the run.
        config: checked; ``output_dir`` is the folder.
        parent: folder of the run whose model it evaluates; None: it is trained.
    """

    variant: str
    seed: int
    folder: Path
    config: Config
    parent: Path | None = None

    @property
    def name(self) -> str:
        """As in messages: ``resnet50 seed 0``."""
        return f"{self.variant} seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """All runs of a study, in the order in which they start.

    Attributes:
        output: the study's folder.
        variants: by name.
        runs: those of one seed before those of the next; a run follows the one whose model it evaluates.
    """

    output: Path
    variants: Mapping[str, Variant]
    runs: Sequence[PlannedRun]

    def of_variant(self, name: str) -> list[PlannedRun]:
        """The runs of a variant, by seed."""
        return [run for run in self.runs if run.variant == name]


def plan_study(
    study: StudyDescription,
    *,
    overrides: Iterable[str] = (),
    output: str | None = None,
    seeds: Sequence[int] | None = None,
) -> Plan:
    """Makes the runs of a study and checks the configuration of each.

    Args:
        study: the file.
        overrides: of all runs, as on the command line of ``segkit train``; they are applied last.
        output: the study's folder, in place of the file's.
        seeds: in place of the file's.
    Raises:
        SegkitError: a run's configuration has a mistake; two runs of one name; a row or ``from`` that names no run; nothing to
            run.
    """
    folder = output_folder(output if output is not None else study.settings.output, "output")
    chosen = list(study.settings.seeds if seeds is None else seeds)
    if not chosen or len(set(chosen)) != len(chosen):
        raise SegkitError(f"seeds: expected different numbers, at least one, given {chosen}", key="seeds", value=chosen)
    variants = make_variants(study)
    if not variants and study.settings.search is None:
        raise SegkitError(f"{study.label}: nothing to run: set runs, grid or search", value=study.label)
    check_row_names(study, list(variants))
    extra = list(overrides)
    for key, node in parse_overrides(extra):
        _check_key(key, node)
    runs = []
    bases: dict[str, Config] = {}
    for seed in chosen:
        for variant in variants.values():
            place = folder / variant.name / f"seed_{seed}"
            parent = None if variant.parent is None else folder / variant.parent / f"seed_{seed}"
            config = variant_config(variant, study.settings.budget, seed, place, extra, bases=bases)
            runs.append(PlannedRun(variant.name, seed, place, config, parent))
    return Plan(folder, variants, runs)


def make_variants(study: StudyDescription) -> dict[str, Variant]:
    """The variants by name: those of the grid, then the named ones.

    Each after the one it is evaluated from.
    """
    common = [(key, node) for key, node in study.nodes("overrides").items()]
    for key, node in common:
        _check_key(key, node)
    variants: dict[str, Variant] = {}
    for name, values in _grid(study):
        if study.settings.base is None:
            raise SegkitError(f"{study.label}: grid: needs 'base', the configuration file of its runs", key="base")
        if name in variants:
            raise SegkitError(
                f"{study.label}: grid: two runs would be called '{name}'; name them under runs", value=name
            )
        own = {key: node.plain() for key, node in values}
        variants[name] = Variant(name, study.base_path(study.settings.base), [*common, *values], None, own)
    trained = [item for item in study.runs.items() if item[1].from_ is None]
    for name, entry in [*trained, *(item for item in study.runs.items() if item[1].from_ is not None)]:
        origin = study.nodes("runs")[name].origin
        if name in variants:
            raise SegkitError(f"{where(f'runs.{name}', origin)}: the grid has a run of that name", value=name)
        values = list(study.nodes("runs", name, "overrides").items())
        for key, node in values:
            _check_key(key, node)
        if entry.from_ is not None:
            if entry.from_ not in variants:
                check_row_names(study, list(variants))
            above = variants[entry.from_]
            variants[name] = Variant(name, above.base, [*above.values, *values], entry.from_, dict(entry.overrides))
            continue
        base = entry.base or study.settings.base
        if base is None:
            raise SegkitError(
                f"{where(f'runs.{name}', origin)}: needs 'base', its configuration file", key=f"runs.{name}"
            )
        own = {**({"base": entry.base} if entry.base else {}), **entry.overrides}
        variants[name] = Variant(name, study.base_path(base), [*common, *values], None, own)
    return variants


def variant_config(
    variant: Variant,
    budget: Budget | None,
    seed: int,
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    bases: dict[str, Config] | None = None,
) -> Config:
    """The configuration of one run.

    Base, budget, the study's values, the variant's, the command line's.

    Args:
        variant, budget, seed, folder: of the run.
        overrides: as on the command line.
        bases: configurations that were read already, by path; those that are read are added.
    Raises:
        SegkitError: a mistake in it; the message names the run.
    """
    bases = {} if bases is None else bases
    try:
        config = bases.get(variant.base)
        if config is None:
            config = bases[variant.base] = load_config(variant.base)
        values = dict(_budget_values(budget))
        for key, node in variant.values:
            values.pop(key, None)  # set again at its new place in the order
            values[key] = node
        values |= {"train.seed": Node(seed, "seeds"), "output_dir": Node(str(folder), "output")}
        config = config.with_nodes(values.items())
        if budget is not None and budget.minutes is not None:
            limit = {"name": "TimeLimit", "minutes": budget.minutes}
            config = config.with_values({"hooks": [*map(dict, config.hooks), limit]}, "budget.minutes")
        config = config.with_overrides(overrides) if overrides else config
    except SegkitError as error:
        raise SegkitError(
            f"run '{variant.name}': {error}", key=error.key, value=error.value, choices=error.choices
        ) from error
    if config.data.val is None:
        raise SegkitError(
            f"run '{variant.name}': data.val is null, so there is nothing to compare it by", key="data.val"
        )
    return config


def _budget_values(budget: Budget | None) -> Iterable[tuple[str, Node]]:
    if budget is not None and budget.iterations is not None:
        yield "train.iterations", Node(budget.iterations, "budget.iterations")
    if budget is not None and budget.epochs is not None:
        yield "train.epochs", Node(budget.epochs, "budget.epochs")


def _grid(study: StudyDescription) -> list[tuple[str, list[tuple[str, Node]]]]:
    """The combinations of the grid: name, and values by key."""
    nodes = study.nodes("grid")
    for key, node in nodes.items():
        _check_key(key, node)
        if not isinstance(node.value, list) or not node.value:
            raise SegkitError(
                f"{where(join('grid', key), node.origin)}: expected a list of values, given {show(node.plain())}"
            )
    if not nodes:
        return []
    products = itertools.product(*(node.value for node in nodes.values()))
    found = []
    for values in products:
        pairs = list(zip(nodes, values, strict=True))
        name = "-".join(f"{key.rpartition('.')[2]}_{value_name(node.plain())}" for key, node in pairs)
        check_name(name, f"{study.label}: grid")
        found.append((name, pairs))
    return found


def value_name(value: Any) -> str:
    """A value as a part of a folder's name.

    ``[400, 1000]`` is ``400_1000``, a spec is its component's name.
    """
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        value = value["name"]
    text = re.sub(r"[^\w.+-]+", "_", str(value)).strip("_.")
    return text[:40] or "empty"


def _check_key(key: str, node: Node) -> None:
    if key in RESERVED:
        raise SegkitError(f"{where(key, node.origin)}: is set by the study; use its key '{RESERVED[key]}'", key=key)
