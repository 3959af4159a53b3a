"""Descriptions of arguments, read from docstrings."""

from __future__ import annotations

from segkit.utils.docstrings import argument_texts, first_line, plain_text


class Part:
    """A part, with :class:`~a.b.Arguments`.

    Args:
        low, high: the range,
            both included.
        size (int): pixels: of ``H`` and ``W``.

        **kwargs: handed on.
    Attributes:
        made: not an argument.
    """

    def __init__(self, low: int, high: int) -> None:
        """Makes it.

        Args:
            low: overruled by the class.
            extra: of the constructor alone.
        """


def test_texts():
    assert argument_texts(Part) == {
        "low": "the range, both included.",
        "high": "the range, both included.",
        "size": "pixels: of `H` and `W`.",
        "kwargs": "handed on.",
        "extra": "of the constructor alone.",
    }
    assert argument_texts(test_texts) == {} and first_line(test_texts) == ""


def test_marks_are_plain():
    assert first_line(Part) == "A part, with `Arguments`."
    assert plain_text("``a`` and :func:`segkit.train`") == "`a` and `segkit.train`"
