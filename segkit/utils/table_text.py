"""Text that may stand in tables of Markdown, LaTeX and CSV."""

from __future__ import annotations

import re

# A row that begins with a bracket or a star would be an argument of the row end before it.
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "–": "--",
}  # fmt: skip
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~$&]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


def escape_markdown(text: str) -> str:
    """Text as one line of Markdown in which no character has a meaning."""
    return _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};" if found[0] in "<>&" else f"\\{found[0]}", _line(text))


def escape_latex(text: str) -> str:
    """Text as one line of LaTeX in which no character is a command."""
    return "".join(_LATEX.get(character, character) for character in _line(text))


def escape_csv(text: str) -> str:
    """Text that no spreadsheet takes for a formula; numbers stay as they are."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") and not _NUMBER.fullmatch(text) else text


def _line(text: str) -> str:
    return " ".join(text.split())
