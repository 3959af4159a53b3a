"""Images with a label map beside them or in a sister folder."""

from segkit.data.formats.label_pairs.dataset import LabelPairs

__all__ = ["LabelPairs"]
