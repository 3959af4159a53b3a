"""Names for files that segkit writes, which every file system can hold."""

from __future__ import annotations

import hashlib
import os
import unicodedata

LONGEST = 200  # bytes of a stem: file systems take 255 of a name, suffix and temporary marks included


def name_fold(name: str) -> str:
    """What two names share that some file systems take for one: case and Unicode form do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def short_stem(stem: str) -> str:
    """The stem itself, or where it has more than 200 bytes its beginning and a hash, so that two stay two."""
    coded = os.fsencode(stem)
    if len(coded) <= LONGEST:
        return stem
    mark = hashlib.sha256(coded).hexdigest()[:12]
    return f"{coded[: LONGEST - 13].decode(errors='ignore')}-{mark}"
