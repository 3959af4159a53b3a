"""Images that a command cannot read: an error, or skipped and counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segkit.utils.errors import SegkitError, counted

OPTION = "--skip-unreadable"


class UnreadableImages:
    """Collects the errors of images that cannot be read.

    Args:
        skip: whether such images are skipped; otherwise the first error is raised, with the option that skips.
    Attributes:
        errors: message by split and name of each skipped image.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.errors: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self.errors)

    @contextmanager
    def reading(self, name: str, split: str = "", kind: type[SegkitError] = SegkitError) -> Iterator[None]:
        """Reads an image in its block; an error of the image ends the block, or the command.

        Args:
            name: of the image.
            split: of the image.
            kind: errors of the image; others are raised as they are.
        Raises:
            SegkitError: the image cannot be read, and such images are not skipped; the message names the option.
        """
        try:
            yield
        except kind as error:
            if self.skip:
                self.errors[split, name] = str(error)
                return
            hint = "" if OPTION in str(error) else f"; {OPTION} skips such images, segkit dataset check lists them"
            raise SegkitError(f"{error}{hint}", key=error.key, value=error.value) from error

    def require_others(self, total: int, source: str) -> None:
        """Raises SegkitError if all of ``total`` images are unreadable."""
        if self.errors and len(self) >= total:
            first = next(iter(self.errors.values()))
            raise SegkitError(f"{source}: none of the {total:,} images can be read; the first: {first}", value=source)

    def lines(self) -> list[str]:
        """What was skipped, for the terminal; empty if nothing was."""
        if not self.errors:
            return []
        first = list(self.errors.values())[:3]
        more = [f"  and {len(self) - 3:,} more: segkit dataset check lists them"] if len(self) > 3 else []
        return [
            f"{counted(len(self), 'image')} skipped, because they cannot be read:",
            *(f"  {message}" for message in first),
            *more,
        ]
