"""The HTML report of one run or several: one file without network.

:func:`write_report` analyses the runs (:mod:`segkit.report.analysis`), each section of the page is a module in
``sections/``, plots are in ``svg/``, and ``page.py`` puts all of it into one file.
"""

from __future__ import annotations

from segkit.report.analysis import ReportOptions
from segkit.report.write import write_report

__all__ = ["ReportOptions", "write_report"]
