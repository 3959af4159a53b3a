"""Groups of images by their names: of one plate, video or patient."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# A prefix with a digit, then a number of its own: of the file, or of its folder.
PATTERNS = (r"^(.*\d.*?)[_\-. ]+[a-zA-Z]*\d+\.[^/\d][^/]*$", r"^(.*\d.*?)[_\-. ]+[a-zA-Z]*\d+/[^/]*$")
LEAST_SIZE = 3  # images of a group on average; smaller ones are chance


@dataclass(frozen=True)
class NameGroups:
    """Groups of images whose names differ in their last number only.

    Attributes:
        pattern: for ``data.val.group``.
        count: number of groups.
        largest: images of the largest group.
        example: what the names of a group have in common.
        needed: whether the images of a group show the same for certain, as tiles of a file do.
    """

    pattern: str
    count: int
    largest: int
    example: str
    needed: bool = False


def find_name_groups(names: Sequence[str]) -> NameGroups | None:
    """The groups that all names form, if there are several; None: there are none.

    Args:
        names: of the images, as :func:`~segkit.data.formats.image_names.image_names` returns them.
    """
    for pattern in PATTERNS:
        matches = [re.search(pattern, name) for name in names]
        prefixes = Counter(match[1] for match in matches if match is not None)
        if len(prefixes) > 1 and prefixes.total() == len(names) >= LEAST_SIZE * len(prefixes):
            return NameGroups(pattern, len(prefixes), max(prefixes.values()), min(prefixes))
    return None
