"""Recognises data by their content: the answers of the formats, and the choice."""

from segkit.data.formats.recognition.result import INCOMPLETE, Recognition

__all__ = ["INCOMPLETE", "Recognition"]
