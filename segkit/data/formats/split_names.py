"""Names of splits: which of them hold training, validation and test images."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Kind = Literal["train", "val", "test"]
KINDS: dict[str, Kind] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "minival": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# Folders of splits, as exporters call them.
SPLIT_FOLDERS: dict[str, Kind] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_WORD = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(KINDS, key=len, reverse=True))})(?=\d{{0,4}}(?![a-z\d]))", re.IGNORECASE
)


def split_word(name: str) -> str | None:
    """The word in a name that names a split, in lower case; None if there is none.

    >>> split_word("instances_train2017"), split_word("valid"), split_word("strain")
    ('train', 'valid', None)
    """
    found = _WORD.findall(name)
    return found[-1].lower() if found else None


def split_kind(name: str) -> Kind | None:
    """Training, validation or test images; None if the split's name does not say so."""
    word = split_word(name)
    return None if word is None else KINDS[word]


def find_split(names: Iterable[str], name: str) -> str | None:
    """The split called ``name``, else the only one of the same kind, as ``valid`` for ``val``.

    Returns None if there is none.
    """
    names = list(names)
    if name in names:
        return name
    kind = KINDS.get(name.lower())
    alike = [other for other in names if kind is not None and split_kind(other) == kind]
    return alike[0] if len(alike) == 1 else None
