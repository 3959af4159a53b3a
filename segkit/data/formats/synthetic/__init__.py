"""A data set without files: shapes on textured backgrounds, drawn on request."""

from segkit.data.formats.synthetic.dataset import Synthetic

__all__ = ["Synthetic"]
