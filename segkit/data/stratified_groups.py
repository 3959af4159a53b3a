"""Divides groups of images into splits, so that each split has its share of everything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from segkit.utils.errors import SegkitError, first_few

IMAGES: Hashable = "images"
NOTHING: Hashable = "no objects"


def same_group(names: Sequence[str], pattern: str, key: str) -> list[tuple[int, int]]:
    """Pairs of images in whose names a pattern finds the same text.

    Args:
        names: of the images.
        pattern: regular expression; the text is that of its first group, or of the whole match if it has none.
        key: what set the pattern, for messages.
    Raises:
        SegkitError: the pattern is no regular expression, or a name does not match it.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SegkitError(f"{key}: '{pattern}' is not a regular expression: {error}", key=key, value=pattern) from error
    matches = [compiled.search(name) for name in names]
    unmatched = [name for name, match in zip(names, matches, strict=True) if match is None]
    if unmatched:
        raise SegkitError(
            f"{key}: '{pattern}' matches {len(names) - len(unmatched)} of {len(names)} names, and not "
            f"{first_few(unmatched, 3)}",
            key=key,
            value=pattern,
        )
    first: dict[str | None, int] = {}
    found = [match[1 if compiled.groups else 0] for match in matches if match is not None]
    return [(first[text], i) for i, text in enumerate(found) if first.setdefault(text, i) != i]


def connected_groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The groups of items that pairs connect, each sorted, in the order of their first items."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for first, second in pairs:
        a, b = sorted((root(first), root(second)))
        parent[b] = a
    groups: dict[int, list[int]] = {}
    for i in range(count):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def divide(
    groups: Sequence[Sequence[int]],
    strata: Sequence[Mapping[Hashable, int]],
    fractions: Mapping[str, float],
    order: Sequence[int],
) -> dict[str, list[int]]:
    """Assigns each group of images to a split, so that each stratum is divided by the fractions.

    The groups are assigned one after the other, the largest first. Each goes to the split with room for it where the sum
    over splits and strata of ``fraction * (objects / (fraction * all objects)) ** 2`` grows least, as it is least when every
    split has its fraction of every stratum. The number of images counts as much as all strata together.

    Args:
        groups: indices of the images that stay together.
        strata: number of objects of each stratum in each image; images without objects have a stratum of their own.
        fractions: of the images, by split; their sum is 1.
        order: a permutation of the groups; it breaks ties.
    Returns:
        Sorted indices by split, in the order of ``fractions``.
    """
    counts = [_group_counts(group, strata) for group in groups]
    totals: Counter[Hashable] = Counter()
    for count in counts:
        totals.update(count)
    weight = {label: 1 / n**2 for label, n in totals.items()}
    weight[IMAGES] *= max(len(totals) - 1, 1)
    share_of = {g: sum(n * n * weight[label] for label, n in counts[g].items()) for g in order}
    have: dict[str, Counter[Hashable]] = {split: Counter() for split in fractions}
    chosen: dict[str, list[int]] = {split: [] for split in fractions}
    for g in sorted(order, key=lambda g: -share_of[g]):
        size = len(groups[g])
        room = {split: fraction * totals[IMAGES] - have[split][IMAGES] for split, fraction in fractions.items()}
        # A split that is full by half of the group has no room for it.
        fits = [split for split in fractions if room[split] >= size / 2] or [max(room, key=lambda split: room[split])]
        split = min(fits, key=lambda split: _growth(counts[g], have[split], weight) / fractions[split])
        chosen[split] += groups[g]
        have[split].update(counts[g])
    return {split: sorted(indices) for split, indices in chosen.items()}


def _group_counts(group: Sequence[int], strata: Sequence[Mapping[Hashable, int]]) -> Counter[Hashable]:
    """Number of images and of objects of each stratum in a group."""
    count: Counter[Hashable] = Counter({IMAGES: len(group)})
    for i in group:
        count.update(strata[i] or {NOTHING: 1})
    return count


def _growth(added: Mapping[Hashable, int], have: Mapping[Hashable, int], weight: Mapping[Hashable, float]) -> float:
    """How much the weighted squares of a split's counts grow if counts are added."""
    return sum(weight[label] * n * (n + 2 * have.get(label, 0)) for label, n in added.items())
