"""mkdocs hooks: fills in what is generated, and shows the docstrings' Sphinx roles as code.

A page says where generated text belongs by a comment, ``<!-- generated: NAME arguments -->``; NAME is a key of
:data:`GENERATORS`. mkdocs imports this file with its folder on the path.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generators import GENERATORS, fill_in

__all__ = ["GENERATORS", "on_page_content", "on_page_markdown"]

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):<code>~?(.*?)</code>")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's text with the generated parts in it."""
    return fill_in(markdown, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """``:class:`X``` of docstrings as code."""
    return _ROLE.sub(r"<code>\1</code>", html)
