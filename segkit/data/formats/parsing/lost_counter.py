"""Counts the annotations that a parser could not use, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from segkit.data.formats.objects import LostObjects

SHOWN = 3  # examples of each reason


class LostCounter:
    """Counts lost objects by reason, with the first places of each.

    Args:
        hints: what to do about a reason; reasons without a hint explain themselves.
        mistakes: reasons that are never intended.
    """

    def __init__(self, hints: Mapping[str, str] | None = None, mistakes: tuple[str, ...] = ()) -> None:
        self._hints, self._mistakes = dict(hints or {}), mistakes
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, reason: str, place: str) -> None:
        """Counts an object.

        Args:
            reason: in the plural, as ``polygons of fewer than three points``.
            place: file and line, or image.
        """
        self._counts[reason] += 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < SHOWN:
            examples.append(place)

    def lost_objects(self) -> list[LostObjects]:
        """The reasons in the order of their first object."""
        return [
            LostObjects(
                reason,
                count,
                tuple(self._examples[reason]),
                hint=self._hints.get(reason, ""),
                mistake=reason in self._mistakes,
            )
            for reason, count in self._counts.items()
        ]
