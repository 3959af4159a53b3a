"""Time series: the frames of stacks and image sequences, and the tracks of their objects."""

from segkit.inference.frame import Frame
from segkit.inference.series.frames import find_series
from segkit.inference.series.linking import Linker
from segkit.inference.series.predict import link_batches, predict_series

__all__ = ["Frame", "Linker", "find_series", "link_batches", "predict_series"]
