"""``segkit config``: lists and shows configurations, keys, components and the JSON schema."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence

from segkit.cli.parser import Parser, add_config_file, add_overrides, choose, take_config

COMMANDS = {
    "list": "the configurations that come with segkit",
    "show": "the values of a configuration, and where each is set",
    "keys": "every key, with its type, default and meaning",
    "components": "the registered components, with their arguments",
    "schema": "the JSON schema, for completion and checks in editors",
}
EXAMPLES = """
segkit config list
segkit config show quickstart
segkit config show mine.yaml train.epochs=3 --yaml
segkit config components BACKBONE
segkit config schema --output schema.json
"""
OTHER_NAMES = {"describe": "show", "print": "show", "ls": "list", "registry": "components", "models": "components"}


def parse_arguments(arguments: Sequence[str], prog: str = "segkit config") -> argparse.Namespace:
    """The subcommand, as ``command``, and its arguments; imports no torch."""
    name, rest = choose(
        COMMANDS,
        arguments,
        prog=prog,
        description="List and show configurations, their keys, the components and the JSON schema.",
        examples=EXAMPLES,
        other_names=OTHER_NAMES,
    )
    parser = PARSERS[name](f"{prog} {name}")
    options = parser.parse(rest)
    options.command = name
    if name == "show":
        take_config(options, parser)
    return options


def main(options: argparse.Namespace) -> None:
    """Prints what the subcommand asks for."""
    if options.command == "list":
        print_list()
    elif options.command == "show":
        print_config(options.config_file, options.opts, as_yaml=options.yaml)
    elif options.command == "keys":
        print_keys()
    elif options.command == "components":
        print_components(options.name, options.config_file)
    else:
        print_schema(options.output, options.config_file, study=options.study)


def _list_parser(prog: str) -> Parser:
    example = "segkit config list\nsegkit train quickstart"
    return Parser("List the configurations that come with segkit.", example, prog)


def _show_parser(prog: str) -> Parser:
    parser = Parser(
        "Show every value of a configuration with its origin: a file and line, the command line, or the default.",
        "segkit config show quickstart\nsegkit config show mine.yaml train.epochs=3\n"
        "segkit config show output/mine/config.yaml --yaml > copy.yaml",
        prog,
    )
    add_config_file(parser)
    parser.add_argument("--yaml", action="store_true", help="print YAML, which loads to the same configuration")
    add_overrides(parser)
    return parser


def _keys_parser(prog: str) -> Parser:
    example = "segkit config keys\nsegkit config keys | grep period"
    return Parser("List every key of a configuration.", example, prog)


def _components_parser(prog: str) -> Parser:
    parser = Parser(
        "List the registered components with their arguments, types and defaults.",
        "segkit config components\nsegkit config components BACKBONE\nsegkit config components ConvNeXt\n"
        "segkit config components --config-file mine.yaml HOOK",
        prog,
    )
    parser.add_argument("name", nargs="?", help="a registry, or one component (default: all)")
    add_config_file(parser, "also the components that this configuration imports")
    return parser


def _schema_parser(prog: str) -> Parser:
    parser = Parser(
        "Write the JSON schema of configurations or study files, by which editors with a YAML language server complete and "
        "check them. "
        "The configurations that come with segkit name theirs in the first line.",
        "segkit config schema --output schema.json\nsegkit config schema --config-file mine.yaml --output schema.json\n"
        "# yaml-language-server: $schema=schema.json    (the first line of a YAML file beside it)",
        prog,
    )
    parser.add_argument("--output", metavar="FILE", help="file to write (default: print it)")
    parser.add_argument("--study", action="store_true", help="the schema of study files")
    add_config_file(parser, "also the components that this configuration imports")
    return parser


PARSERS: dict[str, Callable[[str], Parser]] = {
    "list": _list_parser,
    "show": _show_parser,
    "keys": _keys_parser,
    "components": _components_parser,
    "schema": _schema_parser,
}


def print_list() -> None:
    """Prints the names of the shipped configurations and what each is for."""
    from segkit.cli.shipped import shipped_configs

    names = shipped_configs()
    width = max(map(len, names))
    columns = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else 1000
    for name, text in names.items():
        print(f"{name:{width}}  {textwrap.shorten(text, max(columns - width - 2, 20), placeholder=' ...')}")
    print("\nuse one by its name: segkit train NAME, segkit config show NAME, or _BASE_: segkit://NAME.yaml in a file")


def print_config(config: str, overrides: Sequence[str], *, as_yaml: bool) -> None:
    """Prints a configuration's values with their origins, or as YAML."""
    from segkit.config.describe import describe_values
    from segkit.config.loader import load_config

    cfg = load_config(config, overrides)
    print(cfg.to_yaml() if as_yaml else describe_values(cfg))


def print_keys() -> None:
    """Prints every key with its type, default and meaning."""
    from segkit.config.describe import describe_keys

    print(describe_keys())


def print_components(name: str | None, config: str | None = None, overrides: Sequence[str] = ()) -> None:
    """Prints one component, those of a registry, or all.

    Args:
        name: of a component or a registry; None: all.
        config: a configuration whose ``imports`` register more.
        overrides: of the configuration.
    """
    from segkit.config.describe import describe_components

    _import_components(config, overrides)
    print(describe_components(name or None))


def print_schema(output: str | None, config: str | None = None, *, study: bool = False) -> None:
    """Prints the JSON schema, or writes it to a file.

    Args:
        output: the file; None: print it.
        config: a configuration whose ``imports`` register more components.
        study: the schema of study files in place of that of configurations.
    """
    from segkit.utils.paths import output_file

    if study:
        from segkit.study.json_schema import study_schema_text as make_text
    else:
        from segkit.config.json_schema import schema_text as make_text

    path = output_file(output, "--output") if output is not None else None
    _import_components(config)
    text = make_text()
    if path is None:
        print(text, end="")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")


def _import_components(config: str | None, overrides: Sequence[str] = ()) -> None:
    if config is not None:
        from segkit.cli.shipped import find_config
        from segkit.config.loader import load_config

        load_config(find_config(config), overrides)
