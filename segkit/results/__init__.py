"""Results of a prediction: files that the next tool reads, written image by image."""

from segkit.results.base import ResultWriter
from segkit.results.coco import CocoResultWriter
from segkit.results.counts import CountsResultWriter
from segkit.results.crops import CropsResultWriter
from segkit.results.label_map import LabelMapResultWriter
from segkit.results.overlays import OverlayResultWriter
from segkit.results.part_files import PartFiles
from segkit.results.submission import SubmissionResultWriter
from segkit.results.table import TableResultWriter

__all__ = [
    "CocoResultWriter",
    "CountsResultWriter",
    "CropsResultWriter",
    "LabelMapResultWriter",
    "OverlayResultWriter",
    "PartFiles",
    "ResultWriter",
    "SubmissionResultWriter",
    "TableResultWriter",
]
