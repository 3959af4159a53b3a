"""What a section of the page is, and the templates that they are filled from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parents[1] / "templates"


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        id: in the page's links.
        short: name in the list of contents.
        title: heading.
        body: markup.
        lead: a sentence under the heading.
    """

    id: str
    short: str
    title: str
    body: Markup
    lead: str = ""


@functools.cache
def environment() -> Environment:
    """The templates; every text that is filled in is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fill(template: str, **values: Any) -> Markup:
    """The markup of a template."""
    return Markup(environment().get_template(template).render(**values))
