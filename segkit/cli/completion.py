"""``segkit completion``: a script for the shell's tab completion."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence

from segkit.cli import config
from segkit.cli.dataset import main as dataset
from segkit.cli.parser import Parser

EXAMPLES = """
eval "$(segkit completion)"    (a line for ~/.bashrc)
autoload -U +X bashcompinit && bashcompinit && eval "$(segkit completion)"    (a line for ~/.zshrc)
"""
# Where no word fits, bash completes the names of files.
SCRIPT = """\
_segkit() {{
    local words="" configs="{configs}"
    case "$COMP_CWORD:${{COMP_WORDS[1]}}:${{COMP_WORDS[2]}}" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _segkit segkit
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit completion``, which has ``--help`` alone."""
    return Parser("Print a script that completes segkit's commands and options in bash and zsh.", EXAMPLES, prog)


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    return make_parser(prog).parse(arguments)


def main(options: argparse.Namespace) -> None:
    """Prints the script."""
    from segkit.cli.main import MODULES

    print(completion_script(MODULES), end="")


def completion_script(modules: Mapping[str, str]) -> str:
    """The script for bash; zsh runs it by ``bashcompinit``.

    Args:
        modules: the commands, and the module of each.
    """
    from segkit.cli.shipped import shipped_configs

    cases = {"1:*": " ".join(modules), "2:config:*": " ".join(config.COMMANDS)}
    cases["2:dataset:*"] = " ".join(dataset.COMMANDS)
    cases |= {f"*:config:{name}": words(make("segkit")) for name, make in config.PARSERS.items()}
    cases |= {
        f"*:dataset:{name}": words(importlib.import_module(module).make_parser())
        for name, module in dataset.MODULES.items()
    }
    leaves = {name: module for name, module in modules.items() if name not in ("config", "dataset")}
    cases |= {f"*:{name}:*": words(importlib.import_module(module).make_parser()) for name, module in leaves.items()}
    lines = [f'        {pattern}) words="{text}" ;;' for pattern, text in cases.items()]
    return SCRIPT.format(configs=" ".join(shipped_configs()), cases="\n".join(lines))


def words(parser: Parser) -> str:
    """The options of a command, and the shipped configurations if it takes one."""
    return " ".join([*parser.flags(), *(["$configs"] if parser.takes_config else [])])
