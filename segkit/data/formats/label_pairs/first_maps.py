"""What the first label maps of a data set look like: in colour, binary, or with smoothed edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.data.formats.label_map_file import count_values
from segkit.data.formats.label_pairs.arrays import has_colors, label_values, read_stored
from segkit.structures.components import count_components
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
    """Reads label maps; those that cannot be read are skipped, since ``load`` raises their errors.

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
        values.setdefault(label, set()).update(np.unique(label_map).tolist())
        components, count = count_components(label_map, connectivity), count_values(label_map)
        most = max(most, components)
        if colored is None and count >= SMOOTHED_VALUES and components >= SMOOTHED_COMPONENTS * count:
            smoothed = smoothed or path
    of_class = [own - {0} for own in values.values()]
    found = frozenset().union(*of_class)
    # A single object has the number 1, and rarely more than a few components.
    is_binary = bool(found) and all(len(own) <= 1 for own in of_class) and (found != {1} or most > MAX_COMPONENTS)
    return FirstMaps(colored, found, is_binary, smoothed)
