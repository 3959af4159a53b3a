"""Compares the spellings of a file name, and words the suggestion for a message.

A name that was written on another machine often differs from the file's only in slashes, folders, case,
percent-encoding, blanks or Unicode form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import unquote

# How a given name differs from the file's.
SLASHES = r"'\' instead of '/'"
URL = "a URL"
ESCAPES = "percent-encoded"
BLANKS = "blanks at an end"
UNICODE_FORM = "another Unicode form of the same letters"
CASE = "upper and lower case differ"
IN_FRONT = "'{}/' in front"
IN_FOLDER = "it lies in the folder '{}'"


def composed(text: str) -> str:
    """A text in Unicode's composed form (NFC), in which names are compared."""
    return unicodedata.normalize("NFC", text)


def folded(name: str) -> str:
    """A name without its case, Unicode form and surrounding blanks."""
    return composed(composed(name).casefold()).strip()


def same_text(first: str, second: str) -> bool:
    """Whether two names are the same text, in any Unicode form."""
    return composed(first) == composed(second)


def name_key(name: str) -> str:
    """A key that is equal for all spellings of a path.

    It ignores ``/`` or ``\\``, repeated slashes, ``.`` and Unicode form.
    """
    text = composed(name).replace("\\", "/")
    root = "/" if text.startswith("/") else ""
    return root + "/".join(part for part in text.split("/") if part not in ("", "."))


def plain_parts(name: str) -> list[str]:
    """The parts of a POSIX or Windows path or a URL, without drive, scheme, ``.`` and ``..``."""
    name = re.sub(r"^([a-z]+://[^/\\]*|[a-z]:)", "", name, flags=re.IGNORECASE)
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")] or [""]


def folded_parts(name: str) -> list[str]:
    """The parts of a path without case, Unicode form, blanks and percent-encoding."""
    return [folded(unquote(part)) for part in plain_parts(name)]


def common_end(a: Sequence[str], b: Sequence[str]) -> int:
    """The number of equal parts at the end of two paths."""
    for length, (one, other) in enumerate(zip(reversed(a), reversed(b), strict=False)):
        if one != other:
            return length
    return min(len(a), len(b))


def differences(given: str, found: str) -> list[str]:
    """The ways in which a given name or path differs from an existing one, one phrase each."""
    notes = [SLASHES] if "\\" in given and "\\" not in found else []
    given_parts, found_parts = plain_parts(given), plain_parts(found)
    same = common_end(folded_parts(given), folded_parts(found))
    given_folders, found_folders = given_parts[: len(given_parts) - same], found_parts[: len(found_parts) - same]
    shared = common_end(given_folders[::-1], found_folders[::-1])  # leading folders of both
    if re.match(r"[a-z]+://", given, re.IGNORECASE):
        notes.append(URL)
    elif given_folders[shared:]:
        notes.append(IN_FRONT.format("/".join(given_folders[shared:])))
    if found_folders[shared:]:
        notes.append(IN_FOLDER.format("/".join(found_folders[shared:])))
    a, b = "/".join(given_parts[len(given_folders) :]), "/".join(found_parts[len(found_folders) :])
    for change, note in ((unquote, ESCAPES), (_without_blanks, BLANKS), (composed, UNICODE_FORM), (str.casefold, CASE)):
        if a != b and (change(a), change(b)) != (a, b):
            a, b = change(a), change(b)
            notes.append(note)
    return notes


def suggestion(found: Sequence[str], notes: Sequence[str] = ()) -> str:
    """The end of a message, ``; did you mean 'a.png'? (upper and lower case differ)``.

    It is empty if ``found`` is empty.
    """
    if not found:
        return ""
    reason = f" ({', '.join(notes)})" if notes else ""
    return f"; did you mean {' or '.join(repr(name) for name in found)}?{reason}"


def shown_name(name: str) -> str:
    """A name as it is shown in a message: control characters and lone surrogates are escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _without_blanks(path: str) -> str:
    return "/".join(part.strip() for part in path.split("/"))
