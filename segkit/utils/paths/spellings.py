"""Spellings of one file name: what they share, in what they differ, and the suggestion that a message ends with.

A name from another machine often differs from the file's only in slashes, folders, case, percent-encoding, blanks or
Unicode form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import unquote

# What a given name has that the file's has not.
SLASHES = r"'\' instead of '/'"
URL = "a URL"
ESCAPES = "percent-encoded"
BLANKS = "blanks at an end"
UNICODE_FORM = "another Unicode form of the same letters"
CASE = "upper and lower case differ"
IN_FRONT = "'{}/' in front"
IN_FOLDER = "it lies in the folder '{}'"


def composed(text: str) -> str:
    """A text in the one Unicode form that names are compared in."""
    return unicodedata.normalize("NFC", text)


def folded(name: str) -> str:
    """What the spellings of one name share: case, Unicode form and blanks around it do not count."""
    return composed(composed(name).casefold()).strip()


def same_text(first: str, second: str) -> bool:
    """Whether two names are the same text, maybe in two Unicode forms."""
    return composed(first) == composed(second)


def name_key(name: str) -> str:
    """What two spellings share that name the same file: slashes either way, ``.`` and repeated slashes, Unicode form."""
    text = composed(name).replace("\\", "/")
    root = "/" if text.startswith("/") else ""
    return root + "/".join(part for part in text.split("/") if part not in ("", "."))


def plain_parts(name: str) -> list[str]:
    """The parts of a path, of whatever system it comes from; without drive, URL's scheme, ``.`` and ``..``."""
    name = re.sub(r"^([a-z]+://[^/\\]*|[a-z]:)", "", name, flags=re.IGNORECASE)
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")] or [""]


def folded_parts(name: str) -> list[str]:
    """The parts of a path without all that spellings differ in."""
    return [folded(unquote(part)) for part in plain_parts(name)]


def common_end(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts at the end are the same."""
    for length, (one, other) in enumerate(zip(reversed(a), reversed(b), strict=False)):
        if one != other:
            return length
    return min(len(a), len(b))


def differences(given: str, found: str) -> list[str]:
    """In what a name or path differs from that of the file that it probably means."""
    notes = [SLASHES] if "\\" in given and "\\" not in found else []
    plain, there = plain_parts(given), plain_parts(found)
    same = common_end(folded_parts(given), folded_parts(found))
    ahead, inside = plain[: len(plain) - same], there[: len(there) - same]
    start = common_end(ahead[::-1], inside[::-1])  # folders that both lie in
    if re.match(r"[a-z]+://", given, re.IGNORECASE):
        notes.append(URL)
    elif ahead[start:]:
        notes.append(IN_FRONT.format("/".join(ahead[start:])))
    if inside[start:]:
        notes.append(IN_FOLDER.format("/".join(inside[start:])))
    a, b = "/".join(plain[len(ahead) :]), "/".join(there[len(inside) :])
    for change, note in ((unquote, ESCAPES), (_without_blanks, BLANKS), (composed, UNICODE_FORM), (str.casefold, CASE)):
        if a != b and (change(a), change(b)) != (a, b):
            a, b = change(a), change(b)
            notes.append(note)
    return notes


def suggestion(found: Sequence[str], notes: Sequence[str] = ()) -> str:
    """The end of a message: ``; did you mean 'a.png'? (upper and lower case differ)``; empty where nothing was found."""
    if not found:
        return ""
    reason = f" ({', '.join(notes)})" if notes else ""
    return f"; did you mean {' or '.join(repr(name) for name in found)}?{reason}"


def shown_name(name: str) -> str:
    """A name for a message: control characters and halves of surrogate pairs escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _without_blanks(path: str) -> str:
    return "/".join(part.strip() for part in path.split("/"))
