"""Results of a prediction: files that the next tool reads, written image by image."""

from segkit.results.base import ResultWriter
from segkit.results.coco import CocoResultWriter
from segkit.results.coco_results import CocoResultsWriter
from segkit.results.counts import CountsResultWriter
from segkit.results.crops import CropsResultWriter
from segkit.results.geojson import GeoJsonResultWriter
from segkit.results.imagej import ImageJResultWriter
from segkit.results.label_map import LabelMapResultWriter
from segkit.results.labelme import LabelMeResultWriter
from segkit.results.ome_zarr import OmeZarrResultWriter
from segkit.results.overlays import OverlayResultWriter
from segkit.results.part_files import PartFiles
from segkit.results.submission import SubmissionResultWriter
from segkit.results.table import TableResultWriter
from segkit.results.tracks import TrackResultWriter
from segkit.results.yolo import YoloResultWriter

__all__ = [
    "CocoResultWriter",
    "CocoResultsWriter",
    "CountsResultWriter",
    "CropsResultWriter",
    "GeoJsonResultWriter",
    "ImageJResultWriter",
    "LabelMapResultWriter",
    "LabelMeResultWriter",
    "OmeZarrResultWriter",
    "OverlayResultWriter",
    "PartFiles",
    "ResultWriter",
    "SubmissionResultWriter",
    "TableResultWriter",
    "TrackResultWriter",
    "YoloResultWriter",
]
