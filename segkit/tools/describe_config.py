"""``segkit config`` as ``python -m segkit.tools.describe_config``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from segkit.cli.config import print_components, print_config, print_keys
from segkit.cli.parser import Parser, add_config_file, add_overrides, take_config
from segkit.utils.cli import run_cli

EXAMPLES = """
python tools/describe_config.py --config-file segkit://quickstart.yaml train.epochs=3
python tools/describe_config.py --help-keys
python tools/describe_config.py --components BACKBONE
"""


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = Parser("Show a configuration with its origins, the keys, or the components.", EXAMPLES, prog)
    add_config_file(parser)
    add = parser.add_argument
    add("--yaml", action="store_true", help="print YAML, which loads to the same configuration")
    add("--help-keys", action="store_true", help="every key, with its type, default and meaning (segkit config keys)")
    add("--components", nargs="?", const="", metavar="NAME", help="components with their arguments (default: all)")
    add_overrides(parser)
    options = parser.parse(arguments)
    take_config(options, parser, required=False)
    if options.config_file is None and not options.help_keys and options.components is None:
        parser.error("give --config-file, --help-keys or --components")
    if options.config_file is None and options.opts:
        parser.error("overrides need a --config-file to change")
    return options


def main(options: argparse.Namespace) -> None:
    """Prints what the arguments ask for."""
    if options.help_keys:
        print_keys()
    if options.components is not None:
        print_components(options.components, options.config_file, options.opts)
    if not options.help_keys and options.components is None:
        print_config(options.config_file, options.opts, as_yaml=options.yaml)


def run() -> NoReturn:
    """Ends the process with the exit status."""
    run_cli(lambda: main(parse_arguments()))


if __name__ == "__main__":
    run()
