"""Argument parsers: help with examples, errors that name the nearest valid word."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import NoReturn

from segkit.utils.errors import did_you_mean, nearest

# Options of Detectron2, MMDetection and torchvision's scripts, and what is typed here.
OTHER_OPTIONS = {
    "--opts": "KEY=VALUE, without an option",
    "--cfg-options": "KEY=VALUE, without an option",
    "--input": "the images, without an option",
    "--source": "the images, without an option",
    "--confidence-threshold": "--score-threshold",
    "--conf": "--score-threshold",
    "--dist-url": "--master-address",
    "--work-dir": "output_dir=DIR",
    "--output-dir": "output_dir=DIR",
    "--epochs": "train.epochs=N",
    "--batch-size": "data.batch_size=N",
    "--lr": "solver.optimizer.lr=X",
    "--workers": "data.num_workers=N",
    "--device": "train.device=cpu",
    "--seed": "train.seed=N",
    "--amp": "train.precision=bf16",
}
ULTRALYTICS = ("data", "model", "epochs", "imgsz", "batch", "device", "source", "task", "mode")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with examples in its help and suggestions in its errors.

    Options and positional arguments may alternate.

    Args:
        description: one paragraph, which is wrapped to the terminal.
        examples: command lines, one per line.
        prog: the name in messages, as ``segkit train``; None: the script's file name.
        table: lines after the description, printed as they are.
    Attributes:
        takes_config: whether the first positional argument may be a configuration.
        has_inputs: whether the positional arguments are images.
    """

    takes_config = False
    has_inputs = False

    def __init__(self, description: str, examples: str, prog: str | None = None, table: str = "") -> None:
        text = textwrap.fill(description, shutil.get_terminal_size().columns - 2)
        lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())
        super().__init__(
            prog=prog,
            description=f"{text}\n\n{table}" if table else text,
            epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._negative_number_matcher = re.compile(r"^-\.?\d")  # argparse takes -1e-3 for an option

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parses the arguments (None: of ``sys.argv``); exits with status 2 if one is wrong."""
        options, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            word = unknown[0].partition("=")[0]
            near = did_you_mean(word, self.flags()) if nearest(word, self.flags()) else ""
            other = OTHER_OPTIONS.get(word.replace("_", "-"), "")
            if other in self.flags() or (other and not other.startswith("--") and self.takes_config):
                near = f"; here it is {other}"
            elif other.startswith("the images") and self.has_inputs:
                near = f"; give {other}"
            wrong = f"there is no option '{word}'{near}" if word.startswith("-") else f"unexpected argument '{word}'"
            self.error(wrong)
        return options

    def flags(self) -> list[str]:
        """The long options."""
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """Prints one line and where the help is; exits with status 2.

        argparse lists arguments that may be absent (``nargs="*"``) among those that are required.
        """
        for action in self._actions:
            if action.nargs == "*":
                message = message.removesuffix(f", {action.metavar}")
        self.exit(2, f"{self.prog}: error: {message}\nfor help: {self.prog} --help\n")


def choose(
    commands: Mapping[str, str],
    words: Sequence[str],
    *,
    prog: str,
    description: str,
    examples: str,
    version: str = "",
    other_names: Mapping[str, str] | None = None,
) -> tuple[str, list[str]]:
    """Returns the command that the first word names, and the words after it.

    Exits after printing the help for ``--help``. Exits with status 2 if the first word is no command: the message names the
    nearest one.

    Args:
        commands: names and what each command does, in a few words.
        words: what was typed after ``prog``.
        prog, description, examples: as for :class:`Parser`.
        version: printed for ``--version``; empty: there is no such option.
        other_names: names from other tools, and the command that each suggests.
    """
    width = max(map(len, commands))
    table = "\n".join(f"  {name:{width}}  {text}" for name, text in commands.items())
    parser = Parser(description, f"{examples.strip()}\n{prog} COMMAND --help", prog, f"commands:\n{table}")
    parser.usage = f"{prog} COMMAND ..."
    if version:
        parser.add_argument("--version", action="version", version=version)
    words = list(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words:
        parser.print_help(sys.stderr)
        sys.exit(2)
    if words[0] in commands:
        return words[0], words[1:]
    if words[0].startswith("-"):
        option = words[0].partition("=")[0]
        if option not in ("-h", "--help", "--version") and not nearest(option, parser.flags()):
            first = next(iter(commands))
            parser.error(f"there is no option '{option}' here; options come after a command: {prog} {first} {option}")
        parser.parse(words[:1])
    word = (other_names or {}).get(words[0], words[0])
    parser.error(f"there is no command '{words[0]}'{did_you_mean(word, commands)}")


def add_config_file(parser: Parser, text: str = "", **settings: object) -> None:
    """Adds ``--config-file``."""
    text = text or "YAML file, or the name of a configuration that comes with segkit (segkit config list)"
    parser.add_argument("--config-file", metavar="FILE", help=text, **settings)  # type: ignore[arg-type]


def add_overrides(parser: Parser) -> None:
    """Adds ``[CONFIG] [KEY=VALUE ...]``, which :func:`take_config` separates."""
    text = (
        "the configuration (a file, a name, or the folder of a run), if --config-file is not given; then values to change: "
        "train.epochs=3 or train.epochs 3"
    )
    parser.takes_config = True
    parser.add_argument("opts", nargs="*", metavar="CONFIG | KEY=VALUE", help=text)


def add_results_data(
    parser: Parser, title: str, text: str = "their ground truth: a folder, file or configuration"
) -> None:
    """Adds ``--data``, ``--format`` and ``--split``: the ground truth of results files.

    Args:
        parser: gets the options.
        title: of their group in the help.
        text: the help of ``--data``.
    """
    add = parser.add_argument_group(title).add_argument
    add("--data", metavar="DATA", help=text)
    add("--format", metavar="F", help="format of the data (default: recognised by content)")
    add("--split", metavar="S", help="split of the data (default: val, or the only one)")


def check_results_data(options: argparse.Namespace, parser: Parser) -> None:
    """Exits with status 2 if ``--format`` or ``--split`` is given without ``--data``."""
    for option in ("format", "split"):
        if getattr(options, option) is not None and options.data is None:
            parser.error(f"--{option} is for results files with --data")


def take_config(options: argparse.Namespace, parser: Parser, *, required: bool = True) -> None:
    """Sets ``config_file`` from the first positional argument if that is a configuration.

    The name of a shipped configuration becomes its path. The folder of a run becomes its ``config.yaml``, with this folder
    as ``output_dir``, also if it was moved.

    Exits with status 2 if two configurations are given, or if none is given and one is ``required``.
    """
    from segkit.cli.shipped import find_config, is_config, is_run, shipped_configs

    first = options.opts[0] if options.opts else None
    if first is not None and is_config(first):
        if options.config_file is not None:
            parser.error(f"two configurations are given, '{options.config_file}' and '{first}'")
        options.config_file = options.opts.pop(0)
    if options.config_file is not None:
        if is_run(options.config_file):
            options.opts.insert(0, f"output_dir={json.dumps(options.config_file)}")
        options.config_file = find_config(options.config_file)
    elif required and first is not None and nearest(first, shipped_configs()):
        parser.error(f"no configuration is called '{first}'{did_you_mean(first, shipped_configs())}")
    elif required and first is not None and "=" not in first and (os.path.exists(first) or os.sep in first):
        kind = "is no folder of a run" if os.path.isdir(first) else "is no YAML file"
        kind = kind if os.path.exists(first) else "does not exist"
        data = f"; data are trained on by segkit fit {first}" if os.path.isdir(first) else ""
        parser.error(
            f"'{first}' {kind}; expected a YAML file, the folder of a run, or a name of segkit config list{data}"
        )
    elif required:
        key = "" if first is None else first.partition("=")[0]
        given = f"'{first}' is a key of Ultralytics; " if "=" in str(first) and key in ULTRALYTICS else ""
        parser.error(f"{given}--config-file is needed; to try segkit out: --config-file segkit://quickstart.yaml")
