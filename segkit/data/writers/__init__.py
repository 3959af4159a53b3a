"""Writers of data sets, one module a format; importing this package registers them."""

from segkit.data.writers.base import DatasetWriter

__all__ = ["DatasetWriter"]
