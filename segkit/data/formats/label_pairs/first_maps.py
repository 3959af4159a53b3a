"""What the first label maps of a data set look like: in colour, binary, or smoothed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.data.formats.label_pairs.arrays import has_colors, label_values, read_stored
from segkit.structures.components import component_values
from segkit.utils.errors import SegkitError

MAX_COMPONENTS = 4  # that a single object may have
SMOOTHED_VALUES, SMOOTHED_COMPONENTS = 8, 8  # values of a map with smoothed edges, and components of each, at least


@dataclass
class FirstMaps:
    """What the first label maps of a data set have in common.

    Attributes:
        colored: the first, if it is an RGB image with colours.
        values: the non-zero values of all, or the codes of the colours.
        is_binary: those of each class hold only 0 and one value, which is not the number of a single object.
        smoothed: the first whose values are scattered, as those of masks with smoothed edges; None: none.
    """

    colored: Path | None = None
    values: frozenset[int] = frozenset()
    is_binary: bool = False
    smoothed: Path | None = None


def look_at_maps(maps: Iterable[Mapping[int, Path]], connectivity: int) -> FirstMaps:
    """What label maps look like.

    Those that cannot be read are skipped, since ``load`` raises their errors.

    Args:
        maps: the files of each image by label.
        connectivity: 4 or 8, of components.
    """
    colored: Path | None = None
    smoothed: Path | None = None
    values: dict[int, set[int]] = {}
    most = 0
    for label, path in (item for own in maps for item in own.items()):
        try:
            stored = read_stored(path)
            label_map = label_values(stored, path, None, colors=True)
        except SegkitError:
            continue
        if not values and has_colors(stored):
            colored = path
        # Of a picture in colour only the number of colours is needed, not its many regions.
        components = label_map[label_map != 0] if colored else component_values(label_map, connectivity)
        own = set(np.unique(components).tolist())
        values.setdefault(label, set()).update(own)
        most = max(most, len(components))
        if not colored and len(own) >= SMOOTHED_VALUES and len(components) >= SMOOTHED_COMPONENTS * len(own):
            smoothed = smoothed or path
    found = frozenset().union(*values.values())
    one_value = bool(found) and all(len(own) <= 1 for own in values.values())
    # A single object has the number 1, and rarely more than a few components.
    return FirstMaps(colored, found, one_value and (found != {1} or most > MAX_COMPONENTS), smoothed)
