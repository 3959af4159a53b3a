"""Text in tables of Markdown, LaTeX and CSV."""

from __future__ import annotations

import pytest

from segkit.utils.table_text import escape_csv, escape_latex, escape_markdown


def test_markdown():
    assert escape_markdown("a|b_c\n*d* [e](f) `g`") == r"a\|b\_c \*d\* \[e\](f) \`g\`"
    assert escape_markdown("<b> & &lt; $x$ \\") == r"&#60;b&#62; &#38; &#38;lt; \$x\$ \\"


def test_latex():
    assert (
        escape_latex("50 % of a_b &\n#1 {$} ~^") == r"50 \% of a\_b \& \#1 \{\$\} \textasciitilde{}\textasciicircum{}"
    )
    assert escape_latex("<\\input|x>") == r"\textless{}\textbackslash{}input\textbar{}x\textgreater{}"
    assert escape_latex("2–3") == "2--3"
    # After \\ of the row before, "[400" is taken for a length and "*" for the starred form.
    assert escape_latex("[400, 1000]*") == "{[}400, 1000{]}{*}"


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@x", "\t=1", "\r=1", "-1+1", "+1e", "-1e5e5"])
def test_csv_has_no_formulas(text):
    assert escape_csv(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "-0.5", "+3", "-1e-05", "3–4", "-2.5e+3"])
def test_csv_keeps_numbers_and_other_text(text):
    assert escape_csv(text) == text
