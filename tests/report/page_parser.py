"""Reads a page: its tags, and the text that a reader sees."""

from __future__ import annotations

from html.parser import HTMLParser

CELLS = {"td", "th", "li", "dt", "dd", "p", "text", "caption", "b"}
VOID = {"meta", "img", "link", "input", "br", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, in order; the text of each section; ids and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.sections: dict[str, str] = {}
        self.text = ""
        self.stack: list[str] = []
        self.errors: list[str] = []
        self._section = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "section" and not self._section:  # a gallery has sections of its own
            self._section = dict(attributes)["id"]
            self.sections[self._section] = ""

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")
        if tag in CELLS:
            self.handle_data(" ")
        if tag == "section" and self.stack[-1:] == ["main"]:
            self._section = ""

    def handle_data(self, data):
        if self.stack and self.stack[-1] in ("script", "style"):
            return
        self.text += data
        if self._section:
            self.sections[self._section] += data

    def find(self, tag: str, css: str = "") -> list[dict]:
        """Attributes of the tags of a name and a class."""
        return [a for name, a in self.tags if name == tag and (not css or css in (a.get("class") or "").split())]

    @property
    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.tags if "id" in a]
