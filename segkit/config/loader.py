"""Reading configuration files: ``_BASE_``, ``imports``, overrides, defaults."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segkit.config.imports import import_modules
from segkit.config.merge import merge
from segkit.config.nodes import Node, where
from segkit.config.overrides import apply_overrides, parse_overrides
from segkit.config.renamed_keys import upgrade_saved_config
from segkit.config.schema import Config, resolve
from segkit.config.spec import to_plain
from segkit.config.specs import defaults
from segkit.config.typecheck import coerce, show
from segkit.config.yaml_reader import read_yaml
from segkit.utils.errors import SegkitError
from segkit.utils.paths import PACKAGE_PREFIX, local_path, packaged_configs
from segkit.utils.renamed_arguments import removed_arguments

BASE_KEY = "_BASE_"


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = (), *, allow_imports: bool = False) -> Config:
    """Reads a configuration file and its bases, applies overrides, and checks the result.

    Args:
        path: a YAML file: local, http(s) or ``segkit://NAME``.
        overrides: ``["train.epochs", "3", "solver.optimizer.lr=1e-4"]``; values are YAML.
        allow_imports: whether ``imports`` of files from a URL may run code here; those of local files always may.
    Raises:
        SegkitError: any mistake, with its key path, where it was written and what was expected.
    """
    overrides = list(overrides)
    label = os.fspath(path)
    tree = _read_file(label, [], allow_imports)
    folder = local_path(label, "config").parent if "://" not in label else None
    return _finish(tree, overrides, folder)


@removed_arguments(with_bases="saved=False reads _BASE_, which is an unknown key by default")
def load_config_dict(
    mapping: Mapping[str, Any],
    source: str = "checkpoint",
    overrides: Iterable[str] = (),
    *,
    allow_imports: bool = False,
    saved: bool = True,
) -> Config:
    """Checks a configuration of plain values, such as a checkpoint's, and fills in the defaults.

    Args:
        mapping: keys as in a file; the result of :meth:`Config.to_dict`.
        source: where the mapping comes from, for messages.
        overrides, allow_imports: as for :func:`load_config`.
        saved: the mapping is a checkpoint's: its keys by earlier names are renamed (see
            :func:`segkit.config.renamed_keys.upgrade_saved_config`), and ``_BASE_`` is an unknown key, as the checkpoint may
            come from a stranger. False: it is a user's: earlier names are errors, and the files that ``_BASE_`` names are
            read, relative to the working directory.
    """
    tree = Node.of(to_plain(mapping), source)
    if not isinstance(tree.value, dict):
        raise SegkitError(f"{source}: expected a configuration's keys, given {show(tree.value)}")
    if not allow_imports:
        _refuse_imports(tree, source)
    if saved:
        tree = _with_imports(tree, None)  # the components must be registered before their keys are upgraded
        return _finish(Node.of(upgrade_saved_config(tree.plain()), source), list(overrides), None)
    own, below = _read_bases(tree, source, [], allow_imports)
    own = _with_imports(own, None)
    return _finish(own if below is None else merge(below, own), list(overrides), None)


def present_config_dict(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a saved configuration as this version would save it, to compare it with another.

    Renamed keys have their current names, and arguments that were added since have their defaults. A configuration that is
    no longer valid has only the current names.
    """
    try:
        return load_config_dict(mapping).to_dict()
    except SegkitError:
        return upgrade_saved_config(mapping)


def _finish(tree: Node, overrides: list[str], folder: Path | None) -> Config:
    for key, node in parse_overrides(overrides):
        if key == BASE_KEY:
            raise SegkitError(f"{where(key, node.origin)}: can only be given in a file", key=key)
    tree = apply_overrides(merge(defaults(Config), tree), overrides)
    if any(key.partition(".")[0] in ("imports", "imports_from") for key, _ in parse_overrides(overrides)):
        tree = _with_imports(tree, folder)
    return resolve(tree)


def _is_remote(source: str) -> bool:
    """Whether the source is a URL, whose content is not trusted."""
    return "://" in source and not source.startswith(PACKAGE_PREFIX)


def _refuse_imports(tree: Node, source: str) -> None:
    """Raises if a configuration from a URL names Python modules to import."""
    for key in ("imports", "imports_from"):
        node = tree.value.get(key)
        if _is_remote(source) and node is not None and node.value:
            raise SegkitError(
                f"{where(key, node.origin)}: a file from a URL may not run Python modules here (it names "
                f"{show(node.plain())}). Download it, check what it imports and use the local file; or allow it with "
                "load_config(..., allow_imports=True)",
                key=key,
                value=node.plain(),
            )


def _read_file(label: str, chain: list[tuple[str, Path]], allow_imports: bool) -> Node:
    """Returns the tree of a file, merged over its base files, and imports its modules."""
    try:
        file = local_path(label, "config", kind="file")
    except SegkitError as error:
        raise SegkitError(f"{error}{_packaged(label)}", value=label) from error
    real = Path(os.path.realpath(file))
    if real in [known for _, known in chain]:
        names = [name for name, _ in chain] + [label]
        raise SegkitError(f"{BASE_KEY} forms a circle: {' -> '.join(names)}", key=BASE_KEY, value=label)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SegkitError(
            f"the config '{label}' is not a text file{_checkpoint_hint(file)}: {error}", value=label
        ) from error
    tree = read_yaml(text, label)
    if tree.value is None:
        tree = Node({}, f"{label}:1")
    if not isinstance(tree.value, dict):
        raise SegkitError(f"{tree.origin}: expected keys and values, given {show(tree.plain())}", value=label)
    own, below = _read_bases(tree, label, [*chain, (label, real)], allow_imports)
    if not allow_imports:
        _refuse_imports(own, label)
    own = _with_imports(own, file.parent)
    return own if below is None else merge(below, own)


def _read_bases(tree: Node, label: str, chain: list[tuple[str, Path]], allow_imports: bool) -> tuple[Node, Node | None]:
    """Returns a tree without ``_BASE_``, and the merged trees of the files that it names, None without any."""
    children = dict(tree.value)
    bases = children.pop(BASE_KEY, Node([], tree.origin))
    below: Node | None = None
    for base in bases.value if isinstance(bases.value, list) else [bases]:
        name = coerce(base.plain(), str, BASE_KEY, base.origin)
        try:
            read = _read_file(_relative_to(label, name), chain, allow_imports)
        except SegkitError as error:
            if not str(error).startswith("the config"):
                raise
            raise SegkitError(f"{where(BASE_KEY, base.origin)}: {error}", key=BASE_KEY, value=name) from error
        below = read if below is None else merge(below, read)
    return Node(children, tree.origin), below


def _with_imports(tree: Node, folder: Path | None) -> Node:
    """Imports the tree's modules; returns the tree with their folders added to ``imports_from``."""
    names = tree.value.get("imports")
    if names is None or names.value is None:
        return tree
    coerce(names.plain(), tuple[str, ...], "imports", names.origin)
    given = tree.value.get("imports_from", Node([], names.origin))
    given = Node([], given.origin) if given.value is None else given
    more = coerce(given.plain(), tuple[str, ...], "imports_from", given.origin)
    folders = [folder] if folder is not None else []
    folders += [Path.cwd(), *(Path(os.path.expanduser(name)) for name in more)]
    unique = list(dict.fromkeys(folder.absolute() for folder in folders))
    used = import_modules([(node.value, node.origin) for node in names.value], unique)
    found = [Node(str(folder), names.origin) for folder in used if str(folder) not in more]
    return Node({**tree.value, "imports_from": Node(given.value + found, given.origin)}, tree.origin)


def _relative_to(label: str, name: str) -> str:
    """The path or URL of a base file that the file at ``label`` calls ``name``."""
    name = os.path.expanduser(name)
    if "://" in name or os.path.isabs(name):
        return name
    scheme, mark, rest = label.rpartition("://")
    joined = os.path.normpath(os.path.join(os.path.dirname(rest), name))
    if scheme + mark == PACKAGE_PREFIX and joined.startswith(".."):
        raise SegkitError(f"{label}: {BASE_KEY}: '{name}' lies outside {PACKAGE_PREFIX}", key=BASE_KEY, value=name)
    return scheme + mark + joined


def _checkpoint_hint(file: Path) -> str:
    """A hint if the file is a checkpoint by its name."""
    return " but a checkpoint (see --weights)" if file.suffix.lower() in (".pth", ".pt", ".pkl", ".ckpt") else ""


def _packaged(label: str) -> str:
    """A hint if segkit comes with a configuration of that name."""
    inside = packaged_configs()
    name = label.removeprefix("./").removeprefix("configs/")
    name = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    if "://" in label or os.path.isabs(name) or name.startswith("..") or not (inside / name).is_file():
        return ""
    return f"; segkit's own is {PACKAGE_PREFIX}{name}"
