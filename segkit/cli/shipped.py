"""The configurations shipped with segkit: their names and descriptions."""

from __future__ import annotations

import os

from segkit.utils.paths import PACKAGE_PREFIX, packaged_configs

MODELINE = "# yaml-language-server:"
SUFFIXES = (".yaml", ".yml")
RUN_CONFIG = "config.yaml"  # in the folder of a run


def shipped_configs() -> dict[str, str]:
    """Returns the names, as ``coco/rpn_r50_fpn``, and the first sentence of each file.

    Files that are parts of others (``_base_``, ``_study.yaml``) are not among them, nor are studies (``study*.yaml``), which
    :mod:`segkit.study` reads.
    """
    folder = packaged_configs()
    files = sorted(folder.rglob("*.yaml"), key=lambda file: (len(file.relative_to(folder).parts), file))
    names = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    return {
        name: first_sentence(file.read_text(encoding="utf-8"))
        for name, file in names.items()
        if not any(part.startswith("_") for part in name.split("/")) and not is_study(name)
    }


def is_study(name: str) -> bool:
    """Whether a shipped file is a study, by its name."""
    return name.rpartition("/")[2].startswith("study")


def first_sentence(text: str) -> str:
    """The first sentence of a file's leading comment, without the line for editors."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if line.startswith(MODELINE):
            continue
        lines.append(line.lstrip("# "))
        if line.endswith(":"):
            break  # a command follows
    return " ".join(lines).partition(". ")[0].rstrip(".:")


def is_config(word: str) -> bool:
    """Whether a word of a command line is a configuration, not ``KEY`` or ``KEY=VALUE``."""
    if "=" in word:
        return False
    return "://" in word or word.endswith(SUFFIXES) or _shipped(word) is not None or is_run(word)


def is_run(word: str) -> bool:
    """Whether a word of a command line is the folder of a run, which has its configuration."""
    return "=" not in word and os.path.isfile(os.path.join(word, RUN_CONFIG))


def find_config(word: str) -> str:
    """Returns a configuration's file.

    It is ``segkit://quickstart.yaml`` for ``quickstart``, and ``config.yaml`` in the folder of a run.
    """
    if is_run(word):
        return os.path.join(word, RUN_CONFIG)
    if "://" in word or os.path.exists(word):
        return word
    return _shipped(word) or word


def _shipped(word: str) -> str | None:
    """``segkit://NAME.yaml``, if there is one."""
    name = word if word.endswith(SUFFIXES) else f"{word}.yaml"
    inside = ".." not in word.split("/") and not os.path.isabs(word)
    return PACKAGE_PREFIX + name if inside and (packaged_configs() / name).is_file() else None
