"""What a configuration says, what it could say, and where each value came from.

python -m segkit.tools.describe_config --config-file segkit://quickstart.yaml [KEY VALUE | KEY=VALUE ...]
python -m segkit.tools.describe_config --help-keys
python -m segkit.tools.describe_config --components            # everything that is registered
python -m segkit.tools.describe_config --components BACKBONE   # or one registry, or one component by its name
"""

from __future__ import annotations

import argparse
from typing import NoReturn


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", metavar="FILE", help="YAML file; segkit://NAME for one that comes with segkit")
    parser.add_argument("--yaml", action="store_true", help="the resolved configuration as YAML, not as a table")
    parser.add_argument("--help-keys", action="store_true", help="every key with its type, default and meaning")
    parser.add_argument(
        "--components",
        nargs="?",
        const="",
        metavar="NAME",
        help="registered components with their arguments, types and defaults; with --config-file also those it imports",
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE | KEY=VALUE", help="overrides, as for train_net.py")
    options = parser.parse_intermixed_args(arguments)
    if options.config_file is None and not options.help_keys and options.components is None:
        parser.error("give --config-file, --help-keys or --components")
    if options.opts and options.config_file is None:
        parser.error("overrides need a --config-file to go over")
    return options


def main(options: argparse.Namespace) -> None:
    from segkit.config.describe import describe_components, describe_keys, describe_values
    from segkit.config.loader import load_config

    cfg = load_config(options.config_file, options.opts) if options.config_file is not None else None
    if options.help_keys:
        print(describe_keys())
    if options.components is not None:
        print(describe_components(options.components or None))
    if cfg is not None and not options.help_keys and options.components is None:
        print(cfg.to_yaml() if options.yaml else describe_values(cfg))


def run() -> NoReturn:
    """The command: it ends the process with its exit status."""
    options = parse_arguments()  # before any import of segkit: --help and typing mistakes answer at once
    from segkit.utils.cli import run_cli

    run_cli(lambda: main(options))


if __name__ == "__main__":
    run()
