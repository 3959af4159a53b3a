"""Random changes of configurations: of trees, components, texts and overrides."""

import copy
import functools
import inspect
import json
import re

import yaml
from mutations import ODD, change, containers_and_keys, deep, near

from segkit.config import load_config
from segkit.config.spec import to_plain
from segkit.registry import ALL_REGISTRIES, signature_of
from segkit.utils.paths import packaged_configs

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGES = "m0: &m0 {x: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 40))
NASTY = [
    "*a", "&a [*a]", "&a {b: *a}", "!!binary x", "!!binary é", "{", "]", ":", "\t", "- - - -", "? ?", "? [a, b]\n: c",
    "<<: *x",
    "<<: 1", "<<: [1]", "|", ">", "|9", "%", "%YAML 9.9\n---\n", "---\n", "...\n", "@", "\u2028", "\x85", "'", '"',
    '"\\x', '"\\U00110000"',
    "!!int ''", "!!int x", "!!int _", "!!int 1:99:3", "!!bool x", "!!float ''", "!!float .", "!!null x", "!!str 3",
    "!!set {a}",
    "!!omap [a: 1]", "!!timestamp x", "!!python/object/apply:os.system [true]", "!<tag:x,1:y> z", "!", "!!map [1]",
    "!!seq {a: 1}",
    "!!merge x", "!!value =", "=", "0x", "0x_", "1__0", "._", "-.inf", "1e", "+", "-", "-0", "0o17", "[" * 3000,
    "{a: " * 1500,
    "- " * 2000, "1" * 5000, "9" * 400 + ".0e", "1e" + "9" * 50, "x: " * 3, "\n" + LAUGHS, "\n" + MERGES,
    "\n_BASE_: c.yaml", "\n_BASE_: [b.yaml, b.yaml]", "\nimports: [no.such]", "\ntrain: {iterations: 1, epochs: 2}",
    "\nmodel: &m {neck: *m}",
]  # fmt: skip
BASES = [
    "c.yaml", "b.yaml", ["b.yaml", "segkit://quickstart.yaml"], ["b.yaml", "c.yaml"], [], [[]], 3, None, "", ".",
    "..", "/", "~", "~nobody/x",
    "\0", "x" * 5000, "segkit://", "segkit://../x", "segkit://nothing.yaml", "segkit://coco", "nothing://x", "://",
    "/dev/null", {"a": 1},
]  # fmt: skip
IMPORTS = [
    "json",
    "no.such",
    "",
    ".",
    "..",
    ".a",
    "a..b",
    "a b",
    "1",
    "\0",
    "é",
    "x" * 5000,
    "c",
    "c.yaml",
    "json.nothing",
    "os.path",
    "/etc",
    3,
    None,
    [],
]
MILD = [0, 1, 2, 3, 7, 16, 0.1, 0.5, 1.0, -1, True, False, None, "bn", "mean", "res4", "p3", "p9", "COCO", "lr", [],
[1], [4, 8], [0.5, 1.0],
        [[8], [16]], ["p2", "p3"], ["p3", "p3"], {}, {"a": 1}, {"name": "TinyNet"}, {"name": "FPN"},
        {"name": "COCO"}]  # fmt: skip


@functools.lru_cache
def examples():
    """The configurations of segkit: merged with their base files, as text, and all their key paths."""
    files = sorted(f for f in packaged_configs().rglob("*.yaml") if not f.name.startswith("study"))
    plain = [load_config(path).to_dict() for path in files if "_base_" not in path.parts and path.name[0] != "_"]
    written = [re.sub(r"_BASE_: (?!segkit)\S+", "_BASE_: segkit://quickstart.yaml", path.read_text()) for path in files]
    return plain, written, sorted({path for tree in plain for path in key_paths(tree)})


def key_paths(tree, path=""):
    """All of a tree's key paths."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        here = f"{path}.{key}" if path else str(key)
        yield here
        yield from key_paths(value, here)


@functools.lru_cache
def components():
    return [(registry.key, name, component) for registry in ALL_REGISTRIES for name, component in registry]


def any_spec(draw):
    """A spec of any component with some arguments, most of them odd."""
    key, name, component = draw.choice(components())
    spec = {key: name}
    for option, parameter in signature_of(component).options.items():
        if parameter.default is inspect.Parameter.empty or draw.random() < 0.3:
            known = [] if parameter.default is inspect.Parameter.empty else [parameter.default]
            spec[option] = copy.deepcopy(
                draw.choice([draw.choice(ODD), draw.choice(MILD), *(near(to_plain(v), draw) for v in known)])
            )
    return spec


def specs(tree):
    """Yields every mapping in a tree that names a component."""
    if isinstance(tree, dict) and ("name" in tree or "format" in tree):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from specs(child)


def swap_component(tree, draw):
    """Replaces a spec by another component, adds one to a list, or adds odd arguments to a spec."""
    way, found = draw.randrange(3), list(specs(tree))
    if way == 0 and found:
        spec, other = draw.choice(found), any_spec(draw)
        spec.clear()
        spec.update(other)
    elif way == 1 and found:
        spec = draw.choice(found)
        key = "format" if "format" in spec else "name"
        known = {name: component for k, name, component in components() if k == key}
        if (
            isinstance(spec[key], str)
            and spec[key] in known
            and (options := list(signature_of(known[spec[key]]).options))
        ):
            spec[draw.choice(options)] = copy.deepcopy(draw.choice(draw.choice([ODD, MILD])))
    else:
        section, key = draw.choice(
            [(tree, "hooks"), (tree, "evaluators"), ("data", "train_transforms"), ("data", "test_transforms")]
        )
        section = tree.get(section) if isinstance(section, str) else section
        if isinstance(section, dict):
            section[key] = (
                [*(section.get(key) or []), any_spec(draw)] if isinstance(section.get(key), list) else [any_spec(draw)]
            )


def mutated_tree(draw):
    plain = examples()[0]
    tree = copy.deepcopy(draw.choice(plain))
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        way = draw.random()
        if way < 0.35:
            swap_component(tree, draw)
        elif way < 0.4:
            tree["_BASE_"] = copy.deepcopy(draw.choice(BASES))
        elif way < 0.45:
            tree[draw.choice(["imports", "imports_from"])] = [draw.choice(IMPORTS) for _ in range(draw.choice([1, 2]))]
        else:
            change(tree, draw)
    return tree


def gentle_tree(draw):
    """A tree that is likely to load, so that constructors check it: values of the right kind, components that fit."""
    tree = copy.deepcopy(draw.choice(examples()[0]))
    for _ in range(draw.choice([1, 1, 2, 3])):
        if draw.random() < 0.5:
            sections = [tree[key] for key in ("model", "data", "solver", "train", "evaluators") if tree.get(key)]
            container, key = draw.choice(containers_and_keys(draw.choice(sections)))
            container[key] = near(container[key], draw)
            continue
        spec = draw.choice(list(specs(tree)))
        key = "format" if "format" in spec else "name"
        registry = next(
            (r for r in ALL_REGISTRIES if r.key == key and isinstance(spec[key], str) and spec[key] in r), None
        )
        if registry is None:
            continue
        name, component = draw.choice(list(registry))
        if name != spec[key] and draw.random() < 0.5:
            spec.clear()
            spec[key] = name
            spec.update(copy.deepcopy(draw.choice(list(getattr(component, "examples", [{}])) or [{}])))
        options = signature_of(registry.get(spec[key])).options
        for option in draw.sample(sorted(options), min(len(options), draw.choice([0, 1, 2]))):
            default = options[option].default
            given = draw.choice(MILD) if default is inspect.Parameter.empty else near(to_plain(default), draw)
            spec[option] = copy.deepcopy(given if draw.random() < 0.7 else draw.choice(MILD))
    return json.loads(json.dumps(tree))


def dumped(tree):
    """A tree as YAML, or as JSON if PyYAML cannot write it (a lone surrogate)."""
    try:
        return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError):
        return json.dumps(tree, default=str) if not isinstance(tree, int) else "1" + "0" * 400


def mutated_overrides(draw):
    """Overrides: keys that exist, or nearly, with values of any kind."""
    words = []
    for _ in range(draw.choice([1, 1, 2, 4])):
        key = draw.choice(examples()[2])
        if draw.random() < 0.2:
            key = draw.choice(
                [
                    key + ".x",
                    key[:-1],
                    key.upper(),
                    key + "[0]",
                    key + "[99999999999]",
                    key.rpartition(".")[0],
                    ".",
                    "=",
                    "_BASE_",
                ]
            )
        text = (
            draw.choice(NASTY)
            if draw.random() < 0.3
            else dumped(draw.choice([*ODD, any_spec(draw), deep(90)])).removesuffix("...\n")
        )
        words += draw.choice([[f"{key}={text}"], [key, text], [key]])
    return words
