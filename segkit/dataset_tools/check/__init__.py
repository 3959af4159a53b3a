"""Finds the faults of a data set, and mends what can be mended."""

from segkit.dataset_tools.check.kinds import KINDS, Kind
from segkit.dataset_tools.check.report import Fault, Mending, Report, SplitSummary
from segkit.dataset_tools.check.run import check_dataset
from segkit.dataset_tools.check.text import report_text

__all__ = ["KINDS", "Fault", "Kind", "Mending", "Report", "SplitSummary", "check_dataset", "report_text"]
