"""``segkit dataset label-errors``: a list of wrong annotations, and files to correct them."""

from segkit.dataset_tools.label_errors.run import label_errors

__all__ = ["label_errors"]
