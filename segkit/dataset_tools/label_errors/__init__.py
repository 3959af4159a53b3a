"""``segkit dataset label-errors``: annotations that are probably wrong, as a list, crops and files to correct them."""

from segkit.dataset_tools.label_errors.run import label_errors

__all__ = ["label_errors"]
